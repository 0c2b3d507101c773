from django.urls import path

from . import views

urlpatterns = [
    path("", views.page),
    path("login", views.log_in),
    path("lines/<str:room>", views.lines),
    path("later", views.later),
    path("upload", views.upload),
    path("stream", views.stream),
    path("file", views.file),
]
