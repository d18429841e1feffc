"""The API's description, which is a page as well."""

from playwright.sync_api import expect


def test_description_is_readable_and_loads_nothing_from_elsewhere(visitor):
    reader = visitor()
    assert reader.open("/docs/") == 200
    expect(reader.page.get_by_text("/events/{id}/book", exact=False).first).to_be_visible(timeout=30_000)
