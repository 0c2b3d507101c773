from django.db import models


class Line(models.Model):
    room = models.CharField(max_length=40)
    text = models.CharField(max_length=500)
