"""Report to text, one function per format in a table. Nothing is computed here that another format would have to compute again."""
