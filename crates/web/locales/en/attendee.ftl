# Events, bookings and the account, as attendees see them.

seats-left = Seats left: { $free } of { $capacity }
seats-title = Seats
sold-out = Sold out
sold-out-hint = Seats can become free again when somebody doesn’t pay in time.
event-begun = Has begun
date-open = Date to be announced
free-of-charge = free of charge
price-per-seat = { $amount } per seat
when = When
price = Price
payment-window = Time to pay
search-events = Search events by name
search = Search
nothing-found = No upcoming event has “{ $text }” in its name.
more-events = More events
how-many-seats = How many seats?
seats-hint = { $count ->
    [one] { $count } seat at most.
   *[other] { $count } seats at most.
}
seats-wrong = { $count ->
    [one] Choose { $count } seat.
   *[other] Choose from 1 to { $count } seats.
}
book = Book
book-hint = Your seats are held for you; you have this long to pay: { $window }.
seats = { $count ->
    [one] { $count } seat
   *[other] { $count } seats
}

held-for-you = Held for you
booking-held = To be paid
booking-under-way = Payment under way
booking-confirmed = Paid
booking-cancelled = Cancelled
booking-over = Booking over
booking-number = Booking { $id }
time-left = Time left:
pay-until = until
announce-minutes = { $count ->
    [one] { $count } minute left to pay.
   *[other] { $count } minutes left to pay.
}
announce-seconds = { $count ->
    [one] { $count } second left to pay.
   *[other] { $count } seconds left to pay.
}
to-payment = Pay or cancel
amount = Amount
balance = Balance
unknown-for-now = unknown for now
confirm-free = Confirm
confirm = Confirm and pay ({ $amount })
money-missing = Your account is short of { $amount }.
money-missing-hint = Pay in here; your seats stay held meanwhile.
money-missing-ask = Have an organiser pay in for you; your seats stay held until the time is up.
cancel-booking = Cancel this booking…
cancel-hint-held = Your seats become free for others at once.
cancel-hint-paid = Your seats become free for others, and the money comes back to your account.
cancel-now = Cancel the booking
no-bookings = You have no bookings.
look-again = Look again
older-bookings = Older bookings
fate-expired = Booking { $id } has expired: it wasn’t paid in time, and its seats are free again.
fate-cancelled = Booking { $id } was cancelled.
sold-out-hint-free = Seats can become free again when somebody doesn’t confirm in time.
payment-window-free = Time to confirm
book-hint-free = Your seats are held for you; you have this long to confirm: { $window }.
booking-held-free = To be confirmed
booking-under-way-free = Being confirmed
booking-confirmed-free = Confirmed
announce-minutes-free = { $count ->
    [one] { $count } minute left to confirm.
   *[other] { $count } minutes left to confirm.
}
announce-seconds-free = { $count ->
    [one] { $count } second left to confirm.
   *[other] { $count } seconds left to confirm.
}
to-confirmation = Confirm or cancel
balance-of-owner = The owner’s balance
money-missing-of-owner = The owner’s account is short of { $amount }.
deposit-for-owner = Pay in for them
confirm-for-owner = Confirm and charge the owner’s account ({ $amount })
cancel-hint-of-owner = The seats become free for others at once.
cancel-hint-paid-by-owner = The seats become free for others, and the money comes back to the owner’s account.

deposit-amount = Amount to pay in
deposit = Pay in
deposit-ask = Organisers pay in for users.
delta-wrong = Write a whole number above 0, small enough for the account to hold.
history = History
no-postings = Nothing has been posted to your account yet.
posting-kind = What
posting-deposit = Paid in
posting-charge = Payment
posting-refund = Refund
older-postings = Older postings
