"""Digits."""
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
