"""Tests of the conversion of deployment files."""
