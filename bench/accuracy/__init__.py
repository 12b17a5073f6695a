"""How often kbalance is right: every cause on the dataplane that produces it, again and again, as a confusion matrix."""
