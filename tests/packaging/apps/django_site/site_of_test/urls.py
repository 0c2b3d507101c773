import time

from django.contrib import admin
from django.core.files.storage import default_storage
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def echo(request):
    return HttpResponse(b"v " + request.body)


def blocks(request):
    def parts():
        for index in range(50):
            yield f"{index:05d}\n"
            time.sleep(0.02)

    return StreamingHttpResponse(parts(), content_type="text/plain")


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    return HttpResponse(default_storage.url(default_storage.save(file.name, file)))


urlpatterns = [
    path("", echo),
    path("blocks", blocks),
    path("upload", upload),
    path("admin/", admin.site.urls),
]
