"""Authors and their books; a book may have a scan."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    author = models.ForeignKey(Author, on_delete=models.PROTECT, related_name="books")
    title = models.CharField(max_length=200)
    year = models.PositiveIntegerField()
    scan = models.FileField(upload_to="scans/", blank=True)

    def __str__(self) -> str:
        return f"{self.title} ({self.year})"
