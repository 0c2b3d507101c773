"""The public pages: a list, a form, one book, its scan, an export, a counter in the session."""

from django.db import transaction
from django.http import FileResponse, Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from .forms import Suggestion
from .models import Author, Book


@require_safe
def index(request):
    books = Book.objects.select_related("author").order_by("title")
    return render(request, "books/index.html", {"books": books})


def suggest(request):
    form = Suggestion(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            author, _ = Author.objects.get_or_create(name=form.cleaned_data["author"])
            book = author.books.create(
                title=form.cleaned_data["title"], year=form.cleaned_data["year"]
            )
        return redirect("book", number=book.pk)
    return render(request, "books/suggest.html", {"form": form})


@require_safe
def book(request, number):
    book = get_object_or_404(Book.objects.select_related("author"), pk=number)
    return JsonResponse({"title": book.title, "author": book.author.name, "year": book.year})


@require_safe
def scan(request, number):
    book = get_object_or_404(Book, pk=number)
    if not book.scan:
        raise Http404("this book has no scan")
    return FileResponse(book.scan.open("rb"), as_attachment=True)


@require_safe
def catalogue(request):
    rows = Book.objects.order_by("title").values_list("title", "author__name", "year")
    return StreamingHttpResponse(
        (f"{title};{author};{year}\n" for title, author, year in rows.iterator()),
        content_type="text/csv; charset=utf-8",
    )


@require_safe
def visits(request):
    count = request.session.get("visits", 0) + 1
    request.session["visits"] = count
    return HttpResponse(str(count), content_type="text/plain")
