"""What a student learns from a teacher: tapped layers, their pairs, the schedule, and the step of one training run."""
