"""Fakes of every port and the contract suites, so that anyone can prove a provider of theirs."""
