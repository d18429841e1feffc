# Why something that was asked for didn’t happen.

trouble-sold-out = Sold out a moment ago: no seats are left.
trouble-insufficient-funds = The booking costs { $amount }, but your account holds { $balance }. Nothing was charged, and your seats are still held.
trouble-account-full = The account can’t hold that much. Nothing has changed.
trouble-login-taken = This login is taken. Choose another one.
trouble-event-cancelled = The event has been cancelled. It takes no bookings, and money that was paid is returned.
trouble-capacity-below-booked = Seats held or sold: { $occupied }. The event can’t have fewer.
trouble-event-begun = The event has begun and takes no more bookings.
trouble-booking-cancelled = This booking was cancelled.
trouble-hold-expired = This booking has expired: it wasn’t paid in time, and its seats are free again. Nothing was charged.
trouble-hold-limit = You hold, or have just cancelled, as much of this event as one user may. Pay, or wait until a hold has ended.
trouble-rate-limited = Too many attempts. Wait a minute and try again.
trouble-wrong-credentials = Login and password don’t belong together.
trouble-fields = Something isn’t right yet; see below.
trouble-sent-before = This form was sent before with something else in it. Check what it says now and send it again.
trouble-forbidden = You may not do this.
trouble-not-found = There is no such event or booking.
trouble-under-way = This was sent before and is still under way. Send it again in a moment to see what came of it: it takes effect once.
trouble-outcome-unknown = Whether this was done isn’t known. Send it again: it takes effect once.
trouble-unavailable = The service is busy or its database is away. Nothing was done; send it again in a moment.
trouble-unexpected = That didn’t work. Try again.
trouble-unsaved = Nothing was saved: you aren’t signed in, or your session has ended. Sign in, and you are led back to the page; type there again what you had typed.
trouble-owner-short-of-money = The account of the booking’s owner doesn’t hold enough. Nothing was charged, and the seats are still held.
trouble-seats-left = { $count ->
    [one] Only { $count } seat is left.
   *[other] Only { $count } seats are left.
}
