"""The addresses of a site with PORTRAIT_SMARTAV=true. That the setting brings them is tested in
test_smartav_setting.py."""

from django.urls import include, path

from portrait import urls

urlpatterns = [*urls.urlpatterns, path("", include("portrait.compat.smartav.urls"))]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
