"""What every member of a contract must do, run against each of them."""
