# What stands around every page, the start page, sign-in and failures.

skip-to-content = Skip to the content
nav-label = Main
nav-events = Events
nav-bookings = My bookings
nav-account = Account
language = Language
api-description = API

start-title = Seats for your event, held while you pay
start-lead = Choose an event, take your seats, and pay before the clock runs out. Whatever isn’t paid in time is free for others again at once.
upcoming-events = Upcoming events
no-upcoming-events = There are no upcoming events.
all-events = All events

demo-title = This is a demo
demo-lead = Be one of these users by one click. Everything here is made up, and so is the money.
sign-in-as = Sign in as { $login }

sign-in = Sign in
sign-up = Register
sign-out = Sign out
login = Login
login-hint = 1 to 64 characters without spaces.
login-wrong = Choose a login of 1 to 64 characters without spaces.
password = Password
password-hint = At least 8 characters.
password-wrong = Choose a password of 8 characters or more, and at most 1,024 bytes. Type it again.
email = E-mail (optional)
email-hint = Such as name@example.org.
email-wrong = That is no e-mail address; leave it empty or write one such as name@example.org.
first-name = First name (optional)
last-name = Last name (optional)
name-hint = At most 100 characters.
name-wrong = At most 100 characters, in one line.
no-account-yet = No account yet?
have-account = Registered already?

failure-400 = That didn’t work
failure-400-words = The request could not be understood. Go back and try again.
failure-401 = Not signed in
failure-401-words = Sign in first.
failure-403 = Not allowed
failure-403-words = You may not do this, or the request came from another site.
failure-404 = Nothing here
failure-404-words = There is no such page, event or booking, or it belongs to somebody else.
failure-410 = That is over
failure-410-words = What was here has ended, because it wasn’t paid in time.
failure-429 = Too many attempts
failure-429-words = Wait a moment and try again.
failure-500 = Something is broken
failure-500-words = That was our mistake, and it has been logged.
failure-503 = One moment, please
failure-503-words = The service is busy, restarting, or its database is away. Go back and try again in a moment: nothing is booked or paid twice.
to-start = To the start page

instant = { $day } { $month } { $year }, { $time } { $offset }
times-in = Times: { $zone }
month-1 = January
month-2 = February
month-3 = March
month-4 = April
month-5 = May
month-6 = June
month-7 = July
month-8 = August
month-9 = September
month-10 = October
month-11 = November
month-12 = December
minutes = { $count ->
    [one] { $count } minute
   *[other] { $count } minutes
}
hours = { $count ->
    [one] { $count } hour
   *[other] { $count } hours
}
days = { $count ->
    [one] { $count } day
   *[other] { $count } days
}
