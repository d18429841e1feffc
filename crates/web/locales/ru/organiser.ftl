# Что читают организаторы.

nav-organise = Организатору

# Мероприятия: список, форма, отмена.

organise-events = Управление мероприятиями
find-bookings = Поиск броней по номеру или логину владельца
events-past-too = Показать и прошедшие
events-only-ahead = Только предстоящие
events-shown = { $count ->
    [one] { $count } мероприятие на этой странице
    [few] { $count } мероприятия на этой странице
   *[many] { $count } мероприятий на этой странице
}
bookings-pending = Броней ждёт оплаты: { $count }
bookings-confirmed = Оплаченных броней: { $count }
event-is-cancelled = Отменено
event-releasing = { $count ->
    [one] Осталось снять { $count } бронь.
    [few] Осталось снять { $count } брони.
   *[many] Осталось снять { $count } броней.
}
event-new = Новое мероприятие
event-edit = Изменить
event-cancel = Отменить мероприятие
event-create = Создать мероприятие
event-save = Сохранить
event-edit-note = То, что уже забронировано, сохраняет свою цену и срок.
event-name = Название
event-name-hint = Не длиннее { $max } знаков.
event-name-wrong = Укажите название от 1 до { $max } знаков, в одну строку.
event-description = Описание (необязательно)
event-description-hint = О чём оно, простым текстом.
event-description-wrong = Не больше { $max } знаков, без управляющих символов.
event-date = Дата и время (необязательно)
event-date-now = Сейчас:
event-date-hint = По часам указанного ниже часового пояса. Пока дата неизвестна, оставьте поле пустым.
event-date-wrong = Укажите дату и время, например 2030-05-17 19:30.
event-date-skipped = В этом поясе часы переводят вперёд как раз через это время, и его не бывает. Выберите другое.
event-date-past = Мероприятие должно быть в будущем.
event-date-stays = У мероприятия с датой дата остаётся. Укажите другую или оставьте прежнюю.
event-zone = Часовой пояс этого времени
event-zone-hint = Например, Europe/Moscow или UTC. Когда часы переводят назад, считается первый из двух часов.
event-zone-wrong = Такого часового пояса нет. Укажите, например, Europe/Moscow или UTC.
event-capacity = Число мест
event-capacity-hint = Потом можно изменить, но не меньше, чем к тому времени занято.
event-capacity-wrong = Укажите целое число от 1 до { $max }.
event-price = Цена места
event-price-hint = В мельчайших единицах, например в копейках; 0, если бесплатно.
event-price-wrong = Укажите целое число от 0 до { $max }.
event-window = Время на оплату, в минутах
event-window-hint = Места, не оплаченные за это время, снова свободны.
event-window-wrong = Укажите целое число от 1 до { $max }.
cancel-event-lead = Мероприятие не состоится. Это нельзя отменить.
cancel-event-holds = { $count ->
    [0] Броней, ждущих оплаты, нет.
    [one] Будет снята { $count } бронь, ждущая оплаты.
    [few] Будут сняты { $count } брони, ждущие оплаты.
   *[many] Будет снято { $count } броней, ждущих оплаты.
}
cancel-event-paid = { $count ->
    [0] Оплаченных броней нет.
    [one] Будет снята { $count } оплаченная бронь, деньги за неё вернутся.
    [few] Будут сняты { $count } оплаченные брони, деньги за них вернутся.
   *[many] Будет снято { $count } оплаченных броней, деньги за них вернутся.
}
cancel-event-refund = Всего к возврату: { $amount }.
cancel-event-sure = Я хочу отменить это мероприятие
cancel-event-sure-wrong = Отметьте здесь, чтобы отменить мероприятие.
cancel-event-now = Отменить мероприятие сейчас
cancel-event-keep = Не отменять
cancel-event-under-way = Мероприятие отменено. Его брони снимаются, уплаченное возвращается.
cancel-event-released = Снято: { $released } из { $of }
cancel-event-done = Мероприятие отменено, броней больше не осталось.

# Пользователи.

users = Пользователи
users-all = Все пользователи
users-more = Ещё пользователи
users-none = Больше пользователей нет.
users-search = Поиск пользователя по логину
users-search-hint = Логин целиком; заглавные буквы различаются.
users-not-found = Пользователя «{ $login }» нет.
user-number = Номер
user-name = Имя
user-email = Эл. почта
user-since = Зарегистрирован
user-bookings = Брони этого пользователя
role = Роль
role-user = Пользователь
role-admin = Администратор
role-own = Вашу роль может изменить только другой администратор.
role-wrong = Эту роль назначить нельзя; вашу собственную меняет только другой администратор.
role-to-admin = Сделать администратором
role-to-admin-hint = Администраторы организуют мероприятия, видят всё и пополняют чужие счета. Пользователю придётся войти заново.
role-to-user = Снять роль администратора
role-to-user-hint = Пользователь сможет только бронировать, и ему придётся войти заново.

## Проверки

checks-title = Всё ли сходится?
checks-lead = Места, брони и деньги пересчитываются по тому, что сохранено: время от времени самой службой и всякий раз, когда оператор запускает «eventbooker check».
checks-none = Пока ничего не пересчитано. Запустите «eventbooker check», чтобы проверить сейчас.
checker-operator = eventbooker check
checker-service = Служба, во время работы
check-clean = Всё сходится: прочитано строк — { $rows }.
check-broken = Сходится не всё: { $findings ->
        [one] { $findings } расхождение
        [few] { $findings } расхождения
       *[many] { $findings } расхождений
    }, прочитано строк — { $rows }. «eventbooker check» покажет их.

# Одно мероприятие под наблюдением; и поиск броней.

watch-export = Брони в CSV
watch-as-attendee = Как видят участники
watch-released = Все брони сняты.
watch-sold = Продано
watch-held = В брони
watch-taken = В брони или продано
watch-free = Свободно
watch-takings = Выручка
watch-bar = Всего мест: { $capacity }; продано: { $sold }, в брони: { $held }, свободно: { $free }.
watch-bar-taken = Всего мест: { $capacity }; в брони или продано: { $taken }, свободно: { $free }.
watch-chart = Занятые места по времени
watch-chart-words = Занятые места с { $from } по { $until }: самое большее { $peak }, сейчас { $now }.
watch-chart-table = То же таблицей
watch-reading = История мероприятия ещё читается: { $percent } %.
watch-from = С
watch-booked = Забронировано
watch-given-back = Освободилось
watch-bookings = Брони
watch-all = Все
watch-newest = Самые новые брони
watch-live = Новые брони появляются сами, но не пока вы в таблице.
watch-newer = Появились более новые брони.
watch-show-newer = Показать
watch-no-bookings = Таких броней здесь нет.
watch-number = Номер
watch-event = Мероприятие
watch-owner = Чья
watch-state = Состояние
watch-time-left = Осталось
watch-search-title = Поиск броней
watch-search = Номер брони или логин владельца
watch-search-here = В этом мероприятии: номер брони или логин владельца
watch-search-everywhere = Искать во всех мероприятиях
watch-nothing-found = По запросу «{ $text }» ничего не нашлось. Напишите номер брони или логин владельца целиком.
watch-none-of-owner = У { $login } нет броней, оплаченных или ждущих оплаты.
watch-none-of-owner-here = У { $login } нет броней этого мероприятия, оплаченных или ждущих оплаты.
watch-of-another-event = Бронь { $id } — на другое мероприятие.
