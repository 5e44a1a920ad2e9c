"""Pages of lists: by cursor, so that a page costs the same at the millionth row."""

from rest_framework.pagination import CursorPagination


class NewestFirstPagination(CursorPagination):
    """Newest first, 50 rows a page, `?page_size=` up to 500."""

    ordering = ("-created_at", "-id")
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
