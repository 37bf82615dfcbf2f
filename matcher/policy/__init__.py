"""What counts as a match, and what it means: pure rules without IO and without a clock.

`rules` reads policy documents, `binding` fits a policy to the lists at hand, `decide` judges. The
other modules hold one term each: views, thresholds and rules, severities, allow-lists, chance.
"""
