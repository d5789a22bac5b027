"""The experiments by name: typed configurations, and what makes a trained model of one."""
