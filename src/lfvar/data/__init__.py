"""Images, masks and labels: from a dataset folder as downloaded to typed batches."""
