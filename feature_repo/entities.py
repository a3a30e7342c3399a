"""Who features are about."""

from feast import Entity, ValueType

video = Entity(
    name="video",
    join_keys=["video_id"],
    value_type=ValueType.STRING,
    description="the video, 1 to 128 UTF-8 bytes",
)

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="the user, 1 to 128 UTF-8 bytes",
)
