"""Promotions: policies and their gates, requests for approval, and the change that a promotion is."""
