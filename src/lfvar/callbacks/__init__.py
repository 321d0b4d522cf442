"""What happens around the steps: averages, pictures, files. Removing one changes no weight, the average excepted."""
