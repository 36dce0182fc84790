"""ML_Logger."""
