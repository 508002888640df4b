"""Commands that run Lightning's trainer on a configuration: fit, validate, test and predict."""
