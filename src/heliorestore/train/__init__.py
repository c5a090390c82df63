"""Recipes and loops that train the networks; nothing else imports them."""
