"""Who may sign in, and to what."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from portrait.core.admin_base import ModelAdmin

if TYPE_CHECKING:  # unfold has no types; its forms are Django's with another look
    from django.contrib.auth.forms import AdminPasswordChangeForm, UserChangeForm
    from django.contrib.auth.forms import AdminUserCreationForm as UserCreationForm
else:
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

admin.site.unregister([User, Group])


@admin.register(User)
class TeamUserAdmin(UserAdmin[User], ModelAdmin[User]):
    """Django's page with unfold's look."""

    form = UserChangeForm  # type: ignore[assignment]  # generic in the user's class
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "first_name", "last_name", "is_active", "is_staff", "is_superuser", "last_login"]


@admin.register(Group)
class TeamGroupAdmin(GroupAdmin, ModelAdmin[Group]):
    """Likewise."""
