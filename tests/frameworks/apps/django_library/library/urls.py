"""The admin, and the library's own pages."""

from books import views
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", views.index, name="index"),
    path("suggest/", views.suggest, name="suggest"),
    path("books/<int:number>/", views.book, name="book"),
    path("books/<int:number>/scan/", views.scan, name="scan"),
    path("catalogue.csv", views.catalogue, name="catalogue"),
    path("visits/", views.visits, name="visits"),
]
