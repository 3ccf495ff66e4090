"""Our models beside those of the packages that a user would pick instead, over the same journeys.

``rows`` makes the journeys; each ``*_job`` measures one package, in a process and an environment of its own;
``section`` runs them in turns and compares times and results; ``growth_job`` says what more journeys cost us.
"""
