"""The renderers, all over the sample reports of `conftest.py`."""
