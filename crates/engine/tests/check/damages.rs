//! What can be wrong with rows, as statements that make it so.

use eventbooker_engine::check::Rule;

/// What is damaged, how, and the rule that has to notice.
pub(crate) const DAMAGES: &[(&str, &str, Rule)] = &[
    ("occupied too high", "UPDATE tallies SET occupied = 8 WHERE event_id = 1", Rule::Seats),
    ("occupied too low", "UPDATE tallies SET occupied = 6 WHERE event_id = 1", Rule::Seats),
    (
        "pending miscounted",
        "UPDATE tallies SET pending_bookings = 1 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "paid miscounted",
        "UPDATE tallies SET confirmed_bookings = 2 WHERE event_id = 1",
        Rule::Holds,
    ),
    ("version too high", "UPDATE tallies SET version = 99 WHERE event_id = 1", Rule::Journal),
    ("tally missing", "DELETE FROM tallies WHERE event_id = 1", Rule::Seats),
    ("capacity lowered", "UPDATE events SET capacity = 6 WHERE id = 1", Rule::Seats),
    ("event missing", "DELETE FROM events WHERE id = 1", Rule::Holds),
    ("unbooked event missing", "DELETE FROM events WHERE id = 3", Rule::Journal),
    ("slot missing", "DELETE FROM slots WHERE booking_id = 1", Rule::Holds),
    ("slot too many", "INSERT INTO slots VALUES (77, 1, 1, 0, 2)", Rule::Holds),
    ("slot of a cancelled booking", "INSERT INTO slots VALUES (3, 1, 1, 0, 2)", Rule::Holds),
    ("slot of no event", "UPDATE slots SET event_id = 77 WHERE booking_id = 1", Rule::Seats),
    ("slot moved", "UPDATE slots SET event_id = 2 WHERE booking_id = 1", Rule::Holds),
    ("slot with other seats", "UPDATE slots SET seats = 3 WHERE booking_id = 1", Rule::Holds),
    ("slot sold unpaid", "UPDATE slots SET state = 1 WHERE booking_id = 1", Rule::Holds),
    ("booking missing", "DELETE FROM bookings WHERE id = 1", Rule::Holds),
    ("paid booking missing", "DELETE FROM bookings WHERE id = 2", Rule::Holds),
    ("booking with other seats", "UPDATE bookings SET seats = 1 WHERE id = 1", Rule::Holds),
    ("booking paid unsold", "UPDATE bookings SET state = 4 WHERE id = 1", Rule::Holds),
    ("booking revived", "UPDATE bookings SET state = 2 WHERE id = 3", Rule::Holds),
    ("booking moved", "UPDATE bookings SET event_id = 2 WHERE id = 1", Rule::Holds),
    ("booking of no event", "UPDATE bookings SET event_id = 77 WHERE id = 3", Rule::Holds),
    ("stopped before it had seats", "UPDATE bookings SET state = 1 WHERE id = 1", Rule::Sagas),
    ("stopped before it was paid", "UPDATE bookings SET state = 3 WHERE id = 1", Rule::Sagas),
    ("stopped when it was paid", "UPDATE bookings SET state = 5 WHERE id = 2", Rule::Sagas),
    ("stopped with its seats", "UPDATE bookings SET state = -2 WHERE id = 1", Rule::Sagas),
    ("stopped with the money", "UPDATE bookings SET state = -3 WHERE id = 2", Rule::Sagas),
    ("stopped at its deadline", "UPDATE bookings SET state = -4 WHERE id = 1", Rule::Sagas),
    ("cancelled unnoticed", "UPDATE events SET cancelled_at = 0 WHERE id = 3", Rule::Cancellations),
    (
        "cancelled by the journal only",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (3, 2, 6, NULL, 0, 0);
         UPDATE tallies SET version = 2 WHERE event_id = 3",
        Rule::Cancellations,
    ),
    (
        "cancelled, and its bookings forgotten",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (2, 3, 6, NULL, 1, 0);
         UPDATE tallies SET version = 3 WHERE event_id = 2;
         UPDATE events SET cancelled_at = 0 WHERE id = 2",
        Rule::Cancellations,
    ),
    (
        "cancelled, with bookings that there aren't",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (3, 2, 6, NULL, 0, 0);
         UPDATE tallies SET version = 2 WHERE event_id = 3;
         UPDATE events SET cancelled_at = 0, releasing = 1 WHERE id = 3",
        Rule::Cancellations,
    ),
    (
        "booked after it was cancelled",
        "UPDATE journal SET kind = 6 WHERE event_id = 2 AND version = 1;
         UPDATE events SET cancelled_at = 0, releasing = 1 WHERE id = 2",
        Rule::Cancellations,
    ),
    (
        "edited after it was cancelled",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (3, 2, 6, NULL, 0, 0), (3, 3, 5, NULL, 10, 0);
         UPDATE tallies SET version = 3 WHERE event_id = 3;
         UPDATE events SET cancelled_at = 0 WHERE id = 3",
        Rule::Cancellations,
    ),
    ("number used too early", "UPDATE ids SET last = 4 WHERE kind = 'booking'", Rule::Numbers),
    (
        "first entry missing",
        "DELETE FROM journal WHERE event_id = 1 AND version = 1",
        Rule::Journal,
    ),
    ("entry missing", "DELETE FROM journal WHERE event_id = 1 AND version = 3", Rule::Journal),
    ("last entry missing", "DELETE FROM journal WHERE event_id = 1 AND version = 7", Rule::Journal),
    ("journal missing", "DELETE FROM journal WHERE event_id = 3", Rule::Journal),
    (
        "entry doubled",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           SELECT event_id, 8, kind, booking_id, seats, at FROM journal
           WHERE event_id = 1 AND version = 7;
         UPDATE tallies SET version = 8 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "paid and expired",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (1, 8, 4, 2, 3, 0);
         UPDATE tallies SET version = 8 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "paid twice",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (1, 8, 2, 2, 3, 0);
         UPDATE tallies SET version = 8 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "entries of two holds exchanged",
        "CREATE TEMP TABLE before AS SELECT * FROM journal;
         UPDATE journal SET (kind, booking_id, seats) =
           (SELECT kind, booking_id, seats FROM before
            WHERE event_id = 1 AND version = 9 - journal.version)
           WHERE event_id = 1 AND version IN (3, 6)",
        Rule::Holds,
    ),
    (
        "entry of another kind",
        "UPDATE journal SET kind = 4 WHERE event_id = 1 AND version = 6",
        Rule::Journal,
    ),
    (
        "entry with other seats",
        "UPDATE journal SET seats = 1 WHERE event_id = 1 AND version = 2",
        Rule::Journal,
    ),
    (
        "entry about no booking",
        "UPDATE journal SET booking_id = NULL WHERE event_id = 1 AND version = 2",
        Rule::Journal,
    ),
    (
        "entry about another booking",
        "UPDATE journal SET booking_id = 77 WHERE event_id = 1 AND version = 2",
        Rule::Journal,
    ),
    (
        "creation of a booking",
        "UPDATE journal SET booking_id = 77 WHERE event_id = 1 AND version = 1",
        Rule::Holds,
    ),
    (
        "a payment forgotten by every row but the journal",
        "UPDATE bookings SET state = 2 WHERE id = 2;
         UPDATE slots SET state = 0 WHERE booking_id = 2;
         UPDATE tallies SET pending_bookings = 3, confirmed_bookings = 0 WHERE event_id = 1",
        Rule::Journal,
    ),
    (
        "one booking in the place of another",
        "DELETE FROM bookings WHERE id = 3;
         UPDATE bookings SET id = 3 WHERE id = 1;
         UPDATE slots SET booking_id = 3 WHERE booking_id = 1",
        Rule::Journal,
    ),
    (
        "entry behind another than the one before",
        "UPDATE journal SET previous = number - 1 WHERE event_id = 2 AND version = 2",
        Rule::Storage,
    ),
    (
        "first entry behind another",
        "UPDATE journal SET previous = number - 1 WHERE event_id = 2 AND version = 1",
        Rule::Storage,
    ),
    (
        "first posting behind another",
        "INSERT INTO postings (number, account_id, entry, kind, amount, balance, at, previous)
           VALUES (2, 1, 1, 0, 5, 5, 0, NULL), (3, 2, 1, 0, 5, 5, 0, 2);
         INSERT INTO accounts (account_id, balance, entries, latest) VALUES (1, 5, 1, 2), (2, 5, 1, 3)",
        Rule::Storage,
    ),
    (
        "posting for an event, but for no booking",
        "INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, at)
           VALUES (1, 1, 0, 5, 5, 1, 0);
         INSERT INTO accounts VALUES (1, 5, 1, 1)",
        Rule::Storage,
    ),
    ("an old entry said to be the latest", "UPDATE tallies SET latest = 1", Rule::Storage),
    (
        "entry with the highest number there is",
        "UPDATE journal SET version = 9223372036854775807 WHERE event_id = 1 AND version = 3",
        Rule::Journal,
    ),
    (
        "slot that began with another's entry",
        "UPDATE slots SET entry = entry + 1 WHERE booking_id = 4",
        Rule::Storage,
    ),
    (
        "an index that lost its pages",
        "PRAGMA writable_schema = ON;
         DELETE FROM sqlite_schema WHERE name = 'bookings_by_deadline'",
        Rule::Storage,
    ),
    (
        "held again after its end",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (1, 8, 1, 3, 1, 0), (1, 9, 3, 3, 1, 0);
         UPDATE tallies SET version = 9 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "an entry of another event about a hold",
        "INSERT INTO journal (event_id, version, kind, booking_id, seats, at)
           VALUES (2, 3, 2, 1, 2, 0);
         UPDATE tallies SET version = 3 WHERE event_id = 2;
         UPDATE bookings SET state = 4 WHERE id = 1;
         UPDATE slots SET state = 1 WHERE booking_id = 1;
         UPDATE tallies SET pending_bookings = 1, confirmed_bookings = 2 WHERE event_id = 1",
        Rule::Holds,
    ),
    (
        "an errand for a hold",
        "INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 1, 1, 0, 0, NULL, false)",
        Rule::Sagas,
    ),
    (
        "an errand for nothing",
        "INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (7, 1, 1, 1, 0, 0, NULL, false)",
        Rule::Sagas,
    ),
    (
        "a parked saga",
        "UPDATE bookings SET state = -2 WHERE id = 1;
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 1, 1, 0, 20, 'nobody answers', true)",
        Rule::Sagas,
    ),
    (
        "on its way with other seats",
        "UPDATE bookings SET state = 3, seats = 1 WHERE id = 1;
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 1, 1, 0, 0, NULL, false)",
        Rule::Holds,
    ),
    (
        "on its way without the slot that the journal speaks of",
        "UPDATE bookings SET state = 3 WHERE id = 1;
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 1, 1, 0, 0, NULL, false);
         DELETE FROM slots WHERE booking_id = 1;
         UPDATE tallies SET occupied = 5, pending_bookings = 1 WHERE event_id = 1",
        Rule::Journal,
    ),
];

/// What is damaged, and how. Where it can be done, accounts and postings go on to agree with each
/// other, so that nothing but the damage is there to be found.
pub(crate) const DAMAGED_MONEY: &[(&str, &str)] = &[
    ("balance too high", "UPDATE accounts SET balance = 201 WHERE account_id = 1"),
    ("balance too low", "UPDATE accounts SET balance = 199 WHERE account_id = 1"),
    ("postings miscounted", "UPDATE accounts SET entries = 8 WHERE account_id = 1"),
    ("account missing", "DELETE FROM accounts WHERE account_id = 2"),
    ("account out of nothing", "INSERT INTO accounts VALUES (77, 5, 0, 0)"),
    ("first posting missing", "DELETE FROM postings WHERE number = 1"),
    ("posting missing", "DELETE FROM postings WHERE number = 3"),
    ("last posting missing", "DELETE FROM postings WHERE number = 7"),
    (
        "charge missing, and the money back",
        "DELETE FROM postings WHERE number = 2;
         UPDATE postings SET entry = entry - 1, balance = balance + 80
           WHERE account_id = 1 AND number > 2;
         UPDATE accounts SET entries = 6, balance = 280 WHERE account_id = 1",
    ),
    (
        "posting doubled",
        "INSERT INTO postings (account_id, entry, kind, amount, balance, at)
           SELECT account_id, entry, kind, amount, balance, at FROM postings WHERE number = 7",
    ),
    (
        "posting doubled under the next number",
        "INSERT INTO postings (account_id, entry, kind, amount, balance, at)
           SELECT account_id, entry + 1, kind, amount, balance, at FROM postings WHERE number = 7;
         UPDATE accounts SET entries = 8 WHERE account_id = 1",
    ),
    (
        "numbers of postings exchanged",
        "UPDATE postings SET entry = 7 - entry WHERE account_id = 1 AND entry IN (3, 4)",
    ),
    (
        "posting with the highest number there is",
        "UPDATE postings SET entry = 9223372036854775807 WHERE number = 3",
    ),
    ("amount changed", "UPDATE postings SET amount = 81 WHERE number = 2"),
    (
        "amount beyond all sums",
        "UPDATE postings SET amount = -9223372036854775808 WHERE number = 2",
    ),
    ("balance of a posting changed", "UPDATE postings SET balance = 121 WHERE number = 2"),
    (
        "amount of nothing",
        "UPDATE postings SET amount = 0, balance = 180 WHERE number = 7;
         UPDATE accounts SET balance = 180 WHERE account_id = 1",
    ),
    (
        "amount below nothing",
        "UPDATE postings SET amount = -20, balance = 160 WHERE number = 7;
         UPDATE accounts SET balance = 160 WHERE account_id = 1",
    ),
    (
        "spent before it was there",
        "UPDATE postings SET amount = amount - 150 WHERE number = 1;
         UPDATE postings SET balance = balance - 150 WHERE account_id = 1;
         UPDATE accounts SET balance = balance - 150 WHERE account_id = 1",
    ),
    ("deposit turned into a refund", "UPDATE postings SET kind = 2 WHERE number = 7"),
    ("charge turned into a deposit", "UPDATE postings SET kind = 0 WHERE number = 2"),
    (
        "refund turned into a charge",
        "DROP INDEX postings_by_booking; UPDATE postings SET kind = 1 WHERE number = 6",
    ),
    (
        "refund turned into a deposit",
        "UPDATE postings SET kind = 0, event_id = NULL, booking_id = NULL WHERE number = 6",
    ),
    ("deposit for a booking", "UPDATE postings SET event_id = 1, booking_id = 5 WHERE number = 1"),
    ("charge of no event", "UPDATE postings SET event_id = NULL WHERE number = 2"),
    ("charge for no booking", "UPDATE postings SET booking_id = NULL WHERE number = 2"),
    ("refund by no event", "UPDATE postings SET event_id = NULL WHERE number = 6"),
    ("charge for a booking that never was", "UPDATE postings SET booking_id = 77 WHERE number = 2"),
    ("charge for a hold", "UPDATE postings SET booking_id = 5 WHERE number = 2"),
    ("charge for a free booking", "UPDATE postings SET booking_id = 6 WHERE number = 2"),
    ("charge by another event", "UPDATE postings SET event_id = 2 WHERE number = 2"),
    ("charge of another user", "UPDATE bookings SET user_id = 2 WHERE id = 1"),
    (
        "charge of another amount",
        "UPDATE postings SET amount = 79 WHERE number = 2;
         UPDATE postings SET balance = balance + 1 WHERE account_id = 1 AND number >= 2;
         UPDATE accounts SET balance = 201 WHERE account_id = 1",
    ),
    ("booking of another amount", "UPDATE bookings SET amount = 41 WHERE id = 2"),
    (
        "charge doubled",
        "DROP INDEX postings_by_booking;
         INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, booking_id, at)
           VALUES (1, 8, 1, 80, 120, 1, 1, 0);
         UPDATE accounts SET entries = 8, balance = 120 WHERE account_id = 1",
    ),
    ("charge for a cancelled booking", "UPDATE bookings SET state = -1 WHERE id = 1"),
    ("complete without a charge", "UPDATE bookings SET state = 4 WHERE id = 5"),
    ("complete again after its refund", "UPDATE bookings SET state = 4 WHERE id = 3"),
    (
        "refund without a charge",
        "INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, booking_id, at)
           VALUES (2, 2, 2, 40, 70, 1, 4, 0);
         UPDATE accounts SET entries = 2, balance = 70 WHERE account_id = 2",
    ),
    (
        "refund before its charge",
        "DROP INDEX postings_by_booking;
         UPDATE postings SET kind = 3 - kind WHERE number IN (5, 6);
         UPDATE postings SET balance = 300 WHERE number = 5",
    ),
    (
        "refund doubled",
        "DROP INDEX postings_by_booking;
         INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, booking_id, at)
           VALUES (1, 8, 2, 120, 320, 1, 3, 0);
         UPDATE accounts SET entries = 8, balance = 320 WHERE account_id = 1",
    ),
    (
        "refund of another amount",
        "UPDATE postings SET amount = 119 WHERE number = 6;
         UPDATE postings SET balance = balance - 1 WHERE account_id = 1 AND number >= 6;
         UPDATE accounts SET balance = 199 WHERE account_id = 1",
    ),
    ("refund by another event", "UPDATE postings SET event_id = 2 WHERE number = 6"),
    ("refund for another booking", "UPDATE postings SET booking_id = 1 WHERE number = 6"),
    (
        "refund to another user",
        "DELETE FROM postings WHERE number = 6;
         UPDATE postings SET entry = 6, balance = 80 WHERE number = 7;
         UPDATE accounts SET entries = 6, balance = 80 WHERE account_id = 1;
         INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, booking_id, at)
           VALUES (2, 2, 2, 120, 150, 1, 3, 0);
         UPDATE accounts SET entries = 2, balance = 150 WHERE account_id = 2",
    ),
    (
        "refund missing",
        "DELETE FROM postings WHERE number = 6;
         UPDATE postings SET entry = 6, balance = 80 WHERE number = 7;
         UPDATE accounts SET entries = 6, balance = 80 WHERE account_id = 1",
    ),
    (
        "charged and refunded once more",
        "DROP INDEX postings_by_booking;
         INSERT INTO postings (account_id, entry, kind, amount, balance, event_id, booking_id, at)
           VALUES (1, 8, 1, 120, 80, 1, 3, 0), (1, 9, 2, 120, 200, 1, 3, 0);
         UPDATE accounts SET entries = 9 WHERE account_id = 1",
    ),
    (
        "on its way and charged another amount",
        "UPDATE bookings SET state = 5, amount = 79 WHERE id = 1;
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 1, 1, 0, 0, NULL, false)",
    ),
    (
        "on its way and charged to somebody else",
        "UPDATE bookings SET state = -3, user_id = 2 WHERE id = 1;
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           VALUES (1, 1, 2, 1, 0, 0, NULL, false)",
    ),
];
