"""The addresses of a site with PORTRAIT_SMARTAV=true. That they are off without it:
test_smartav_security.py; that the setting brings them: tests/live/test_smartav_site.py."""

from django.urls import include, path

from portrait import urls

urlpatterns = [*urls.urlpatterns, path("", include("portrait.compat.smartav.urls"))]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
