from django.contrib import admin
from django.db import connection
from django.http import HttpResponse
from django.urls import path


def index(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM auth_user")
        (users,) = cursor.fetchone()
    return HttpResponse(f"{users} users\n", content_type="text/plain")


urlpatterns = [path("", index), path("admin/", admin.site.urls)]
