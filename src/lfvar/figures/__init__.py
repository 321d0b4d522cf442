"""Pictures for people: arrays in, RGB arrays out; nothing here writes files or logs."""
