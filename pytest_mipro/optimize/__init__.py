"""
MIPROv2: bootstrap demos, propose instructions, search both.

Read ``mipro.py`` first: it is the pipeline. ``plan.py`` says how much is done,
``space.py`` what is searched, ``bootstrap.py`` where demos come from,
``propose.py`` where instructions come from, ``search.py`` how the best
combination is found, and ``surrogate.py`` what it believes meanwhile.
"""
