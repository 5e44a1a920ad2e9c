from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0002_ended_jobs")]

    operations = [
        migrations.AddIndex(
            model_name="jobitem",
            index=models.Index(condition=models.Q(("state", "failed")), fields=["job"], name="jobitem_failed"),
        ),
    ]
