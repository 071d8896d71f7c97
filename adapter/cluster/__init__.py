"""This replica among the others: who is a member, whose node is whose, what each does for a node."""
