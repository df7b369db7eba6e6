"""How much each parameter matters: functional ANOVA of a forest of regression trees, and PED-ANOVA of densities.

What may enter compares finished trials; the codes and counts that it starts from are made by `fasthpo.analysis`.
"""
