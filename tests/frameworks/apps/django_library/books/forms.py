"""The form of the public page."""

from django import forms


class Suggestion(forms.Form):
    author = forms.CharField(max_length=100)
    title = forms.CharField(max_length=200)
    year = forms.IntegerField(min_value=1, max_value=9999)
