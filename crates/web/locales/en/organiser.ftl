# What organisers read.

nav-organise = Organise

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
