"""What a careful person would write about AgentDojo's tools: their powers and whose words their results carry.

A result is *trusted* only where no stranger can write into it. Nothing here knows a task, a goal or an attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retainer.safety.table import Line

_READ: dict[str, Any] = {"effect_class": "read", "label": "untrusted", "private": True}
_OWN: dict[str, Any] = {"effect_class": "read", "label": "trusted", "private": True}
_OFFERS: Line = {"effect_class": "read", "label": "trusted"}
"""Typed fields of a configured provider: names, prices, addresses. Reviews are not among them."""
_REVIEWS: Line = {"effect_class": "read", "label": "untrusted"}


def _handles(line: Mapping[str, Any], *fields: str) -> Line:
    return {**line, "handles": fields}


_CALENDAR: dict[str, Line] = {
    "get_day_calendar_events": _handles(_READ, "id_"),
    "search_calendar_events": _handles(_READ, "id_"),
    "create_calendar_event": {"effect_class": "write-own", "label": "trusted", "sinks": ["participants"]},
    "cancel_calendar_event": {"effect_class": "destructive", "label": "trusted"},
}
_MAIL: Line = {"effect_class": "communicate", "label": "trusted", "sinks": ["recipients", "cc", "bcc"]}
_PAYS: Line = {"effect_class": "money", "label": "trusted", "sinks": ["recipient"]}

TABLES: dict[str, dict[str, Line]] = {
    "workspace": {
        **_CALENDAR,
        "send_email": _MAIL,
        "delete_email": {"effect_class": "destructive", "label": "trusted"},
        "get_unread_emails": _READ,
        "get_sent_emails": _READ,
        "get_received_emails": _READ,
        "get_draft_emails": _READ,
        "search_emails": _READ,
        "search_contacts_by_name": _handles(_OWN, "email"),
        "search_contacts_by_email": _handles(_OWN, "email"),
        "get_current_day": _OWN,
        "reschedule_calendar_event": {"effect_class": "communicate", "label": "trusted"},
        "add_calendar_event_participants": {
            "effect_class": "communicate",
            "label": "trusted",
            "sinks": ["participants"],
        },
        "append_to_file": {"effect_class": "write-own", "label": "untrusted"},
        "search_files_by_filename": _handles(_READ, "id_"),
        "create_file": {"effect_class": "write-own", "label": "trusted"},
        "delete_file": {"effect_class": "destructive", "label": "untrusted"},
        "get_file_by_id": _READ,
        "list_files": _READ,
        "share_file": {"effect_class": "communicate", "label": "untrusted", "sinks": ["email"]},
        "search_files": _handles(_READ, "id_"),
    },
    "banking": {
        "get_iban": _OWN,
        "get_balance": _OWN,
        "get_user_info": _OWN,
        "get_scheduled_transactions": _OWN,
        "get_most_recent_transactions": _READ,
        "read_file": _READ,
        "send_money": _PAYS,
        "schedule_transaction": _PAYS,
        "update_scheduled_transaction": _PAYS,
        "update_password": {"effect_class": "admin", "label": "trusted"},
        "update_user_info": {"effect_class": "admin", "label": "trusted"},
    },
    "slack": {
        "get_channels": _handles(_READ, "*"),
        "get_users_in_channel": _READ,
        "read_channel_messages": _READ,
        "read_inbox": _READ,
        "get_webpage": {"effect_class": "fetch", "label": "untrusted", "sinks": ["url"]},
        "post_webpage": {"effect_class": "communicate", "label": "trusted", "sinks": ["url"]},
        "send_direct_message": {"effect_class": "communicate", "label": "trusted", "sinks": ["recipient"]},
        "send_channel_message": {"effect_class": "communicate", "label": "trusted", "sinks": ["channel"]},
        "add_user_to_channel": {"effect_class": "communicate", "label": "trusted", "sinks": ["user", "channel"]},
        "invite_user_to_slack": {"effect_class": "communicate", "label": "trusted", "sinks": ["user", "user_email"]},
        "remove_user_from_slack": {"effect_class": "destructive", "label": "trusted"},
    },
    "travel": {
        **_CALENDAR,
        "get_user_information": _OWN,
        **dict.fromkeys(
            (
                "get_all_hotels_in_city",
                "get_hotels_prices",
                "get_hotels_address",
                "get_all_restaurants_in_city",
                "get_cuisine_type_for_restaurants",
                "get_restaurants_address",
                "get_dietary_restrictions_for_all_restaurants",
                "get_contact_information_for_restaurants",
                "get_price_for_restaurants",
                "check_restaurant_opening_hours",
                "get_all_car_rental_companies_in_city",
                "get_car_types_available",
                "get_car_fuel_options",
                "get_car_rental_address",
                "get_car_price_per_day",
                "get_flight_information",
            ),
            _OFFERS,
        ),
        "get_rating_reviews_for_hotels": _REVIEWS,
        "get_rating_reviews_for_restaurants": _REVIEWS,
        "get_rating_reviews_for_car_rental": _REVIEWS,
        "reserve_hotel": {"effect_class": "money", "label": "trusted"},
        "reserve_car_rental": {"effect_class": "money", "label": "trusted"},
        "reserve_restaurant": {"effect_class": "money", "label": "trusted"},
        "send_email": _MAIL,
    },
}
