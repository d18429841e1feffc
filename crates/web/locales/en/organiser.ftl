# What organisers read.

nav-organise = Organise

# Events: the list, the form, cancelling.

organise-events = Organise events
find-bookings = Find bookings by number or owner’s login
events-past-too = Past events, too
events-only-ahead = Only those that lie ahead
events-shown = { $count ->
    [one] { $count } event on this page
   *[other] { $count } events on this page
}
bookings-pending = Bookings to be paid: { $count }
bookings-confirmed = Paid bookings: { $count }
event-is-cancelled = Cancelled
event-releasing = { $count ->
    [one] { $count } booking is still to be released.
   *[other] { $count } bookings are still to be released.
}
event-new = New event
event-edit = Edit
event-cancel = Cancel the event
event-create = Create the event
event-save = Save
event-edit-note = What is booked already keeps its price and its deadline.
event-name = Name
event-name-hint = At most { $max } characters.
event-name-wrong = Write a name of 1 to { $max } characters, in one line.
event-description = Description (optional)
event-description-hint = What it is about, as plain text.
event-description-wrong = At most { $max } characters, without control characters.
event-date = Date and time (optional)
event-date-now = So far:
event-date-hint = By the clocks of the time zone below. Leave it empty while the date isn’t known.
event-date-wrong = Write a date and a time, such as 2030-05-17 19:30.
event-date-skipped = Clocks in this zone are put forward over this time, so it doesn’t exist. Choose another.
event-date-past = The event has to lie in the future.
event-date-stays = An event that has a date keeps one. Write another, or leave it as it was.
event-zone = Time zone of this time
event-zone-hint = Such as Europe/Berlin or UTC. When clocks are put back, the first of the two hours counts.
event-zone-wrong = There is no such time zone. Write one such as Europe/Berlin or UTC.
event-capacity = Seats
event-capacity-hint = Can be changed later, to no fewer than are held or sold by then.
event-capacity-wrong = Write a whole number from 1 to { $max }.
event-price = Price of a seat
event-price-hint = In minor units, such as cents; 0 if it is free of charge.
event-price-wrong = Write a whole number from 0 to { $max }.
event-window = Time to pay, in minutes
event-window-hint = Seats that aren’t paid by then are free again.
event-window-wrong = Write a whole number from 1 to { $max }.
cancel-event-lead = The event will not take place. This can’t be undone.
cancel-event-holds = { $count ->
    [0] No bookings wait for their payment.
    [one] { $count } booking that waits for its payment is released.
   *[other] { $count } bookings that wait for their payment are released.
}
cancel-event-paid = { $count ->
    [0] No bookings are paid.
    [one] { $count } paid booking is released and refunded.
   *[other] { $count } paid bookings are released and refunded.
}
cancel-event-refund = Refunded in all: { $amount }.
cancel-event-sure = I want to cancel this event
cancel-event-sure-wrong = Tick this to cancel the event.
cancel-event-now = Cancel the event now
cancel-event-keep = Keep it
cancel-event-under-way = The event is cancelled. Its bookings are being released, and what was paid is refunded.
cancel-event-released = Released: { $released } of { $of }
cancel-event-done = The event is cancelled, and none of its bookings is left.

# Users.

users = Users
users-all = All users
users-more = More users
users-none = There are no more users.
users-search = Find a user by login
users-search-hint = The whole login; capital letters count.
users-not-found = There is no user “{ $login }”.
user-number = Number
user-name = Name
user-email = E-mail
user-since = Registered
user-bookings = Bookings of this user
role = Role
role-user = User
role-admin = Admin
role-own = Your own role can only be changed by another admin.
role-wrong = That role can’t be given; your own only by another admin.
role-to-admin = Make an admin
role-to-admin-hint = Admins organise events, see everything, and pay in for others. The user has to sign in again.
role-to-user = Take the admin role away
role-to-user-hint = The user can then only book, and has to sign in again.

## Checks

checks-title = Do the numbers add up?
checks-lead = Seats, holds and money are recounted from what is stored: now and then by the service, and whenever an operator runs “eventbooker check”.
checks-none = Nothing has been recounted yet. Run “eventbooker check” to do so now.
checker-operator = eventbooker check
checker-service = The service, beside its work
check-clean = Everything adds up: { $rows } rows were read.
check-broken = Not everything adds up: { $findings ->
        [one] { $findings } finding
       *[other] { $findings } findings
    } in { $rows } rows. “eventbooker check” lists them.

# One event, watched; and looking for bookings.

watch-export = Bookings as CSV
watch-as-attendee = As attendees see it
watch-released = All its bookings are released.
watch-sold = Sold
watch-held = Held
watch-taken = Held or sold
watch-free = Free
watch-takings = Takings
watch-bar = Of { $capacity } seats, { $sold } are sold, { $held } held and { $free } free.
watch-bar-taken = Of { $capacity } seats, { $taken } are held or sold and { $free } free.
watch-chart = Seats held and sold over time
watch-chart-words = Seats held and sold, from { $from } until { $until }: { $peak } at most, { $now } now.
watch-chart-table = The same as a table
watch-reading = What has happened so far is still being read: { $percent } %.
watch-from = From
watch-booked = Booked
watch-given-back = Given back
watch-bookings = Bookings
watch-all = All
watch-newest = Newest bookings
watch-live = New bookings come in by themselves, but not while you are in the table.
watch-newer = Newer bookings have come.
watch-show-newer = Show them
watch-no-bookings = There are no such bookings here.
watch-number = Number
watch-event = Event
watch-owner = Owner
watch-state = State
watch-time-left = Time left
watch-search-title = Find bookings
watch-search = A booking’s number, or the owner’s login
watch-search-here = Of this event: a booking’s number, or the owner’s login
watch-search-everywhere = Search in all events
watch-nothing-found = Nothing was found for “{ $text }”. Write a booking’s number or the whole login of its owner.
watch-none-of-owner = { $login } has no bookings that are paid or waiting to be.
watch-none-of-owner-here = { $login } has no bookings of this event that are paid or waiting to be.
watch-of-another-event = Booking { $id } is for another event.
