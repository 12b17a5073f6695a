"""The checks behind the rules, pure functions of a case; each concludes or stays quiet.

What a rule is called and how severe it is stands in `kbalance.analysis.rules` alone.
"""
