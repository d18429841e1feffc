# Мероприятия, брони и счёт, какими их видят участники.

seats-left = Свободно мест: { $free } из { $capacity }
seats-title = Места
sold-out = Мест нет
sold-out-hint = Места могут освободиться, если кто-то не оплатит бронь вовремя.
event-begun = Уже началось
date-open = Дата будет объявлена
free-of-charge = бесплатно
price-per-seat = { $amount } за место
when = Когда
price = Цена
payment-window = Время на оплату
search-events = Поиск мероприятий по названию
search = Найти
nothing-found = Нет ближайших мероприятий, в названии которых есть «{ $text }».
more-events = Ещё мероприятия
how-many-seats = Сколько мест?
seats-hint = { $count ->
    [one] Не больше { $count } места.
    [few] Не больше { $count } мест.
   *[many] Не больше { $count } мест.
}
seats-wrong = { $count ->
    [one] Выберите от 1 до { $count } места.
    [few] Выберите от 1 до { $count } мест.
   *[many] Выберите от 1 до { $count } мест.
}
book = Забронировать
book-hint = Места закреплены за вами; на оплату у вас столько времени: { $window }.
seats = { $count ->
    [one] { $count } место
    [few] { $count } места
   *[many] { $count } мест
}

held-for-you = Места закреплены за вами
booking-held = Ждёт оплаты
booking-under-way = Идёт оплата
booking-confirmed = Оплачена
booking-cancelled = Отменена
booking-over = Бронь больше не действует
booking-number = Бронь { $id }
time-left = Осталось:
pay-until = до
announce-minutes = { $count ->
    [one] На оплату осталась { $count } минута.
    [few] На оплату осталось { $count } минуты.
   *[many] На оплату осталось { $count } минут.
}
announce-seconds = { $count ->
    [one] На оплату осталась { $count } секунда.
    [few] На оплату осталось { $count } секунды.
   *[many] На оплату осталось { $count } секунд.
}
to-payment = Оплатить или отменить
amount = Сумма
balance = На счету
unknown-for-now = сейчас неизвестно
confirm-free = Подтвердить
confirm = Подтвердить и оплатить ({ $amount })
money-missing = На счету не хватает { $amount }.
money-missing-hint = Пополните счёт здесь; места останутся закреплены за вами.
money-missing-ask = Попросите организатора пополнить ваш счёт; места закреплены за вами, пока не вышло время.
cancel-booking = Отменить эту бронь…
cancel-hint-held = Места сразу станут свободны для других.
cancel-hint-paid = Места станут свободны для других, а деньги вернутся на ваш счёт.
cancel-now = Отменить бронь
no-bookings = У вас нет броней.
look-again = Посмотреть ещё раз
older-bookings = Более ранние брони
fate-expired = Бронь { $id } истекла: её не оплатили вовремя, и места снова свободны.
fate-cancelled = Бронь { $id } отменена.
sold-out-hint-free = Места могут освободиться, если кто-то не подтвердит бронь вовремя.
payment-window-free = Время на подтверждение
book-hint-free = Места закреплены за вами; на подтверждение у вас столько времени: { $window }.
booking-held-free = Ждёт подтверждения
booking-under-way-free = Подтверждается
booking-confirmed-free = Подтверждена
announce-minutes-free = { $count ->
    [one] На подтверждение осталась { $count } минута.
    [few] На подтверждение осталось { $count } минуты.
   *[many] На подтверждение осталось { $count } минут.
}
announce-seconds-free = { $count ->
    [one] На подтверждение осталась { $count } секунда.
    [few] На подтверждение осталось { $count } секунды.
   *[many] На подтверждение осталось { $count } секунд.
}
to-confirmation = Подтвердить или отменить
balance-of-owner = На счету владельца
money-missing-of-owner = На счету владельца не хватает { $amount }.
deposit-for-owner = Пополнить его счёт
confirm-for-owner = Подтвердить и списать со счёта владельца ({ $amount })
cancel-hint-of-owner = Места сразу станут свободны для других.
cancel-hint-paid-by-owner = Места станут свободны для других, а деньги вернутся на счёт владельца.

deposit-amount = Сумма пополнения
deposit = Пополнить
deposit-ask = Счета пользователей пополняют организаторы.
delta-wrong = Укажите целое число больше 0, которое вместит счёт.
history = История
no-postings = По вашему счёту ещё ничего не проведено.
posting-kind = Что
posting-deposit = Пополнение
posting-charge = Оплата
posting-refund = Возврат
older-postings = Более ранние записи
