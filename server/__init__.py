"""The receiver: takes batches over HTTP and keeps them as plain files, durable before the answer."""
