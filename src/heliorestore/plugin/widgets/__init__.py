"""Controls that know no method; panels are built of them."""
