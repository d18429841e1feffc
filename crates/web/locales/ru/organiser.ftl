# Что читают организаторы.

nav-organise = Организатору

## Проверки

checks-title = Всё ли сходится?
checks-lead = Места, брони и деньги пересчитываются по тому, что сохранено: время от времени самой службой и всякий раз, когда оператор запускает «eventbooker check».
checks-none = Пока ничего не пересчитано. Запустите «eventbooker check», чтобы проверить сейчас.
checker-operator = eventbooker check
checker-service = Служба, во время работы
check-clean = Всё сходится: прочитано строк — { $rows }.
check-broken = Сходится не всё: { $findings ->
        [one] { $findings } находка
        [few] { $findings } находки
       *[many] { $findings } находок
    }, прочитано строк — { $rows }. «eventbooker check» покажет их.
