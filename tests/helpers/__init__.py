"""What several test modules share: each file holds the helpers of one topic, none holds tests."""
