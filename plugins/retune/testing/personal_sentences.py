"""The sentences that `personal_data` plants its values in, and the shapes of identity numbers."""

from __future__ import annotations

from typing import NamedTuple

WRAPPINGS = (
    "({})",
    '"{}"',
    "<{}>",
    "'{}'",
    "[{}]",
    "**{}**",
    "`{}`",
    "{}.",
    "{},",
    "{};",
    "{}!",
    "„{}“",
    "{} ",
)

SENTENCES: dict[str, tuple[str, ...]] = {
    "FILLER": (
        "Thanks for your quick reply!", "I ordered on 2024-05-12 and paid 129.99 EUR.",
        "Order 48213377, please.",
        "Vielen Dank im Voraus.", "Die Rechnung vom 03.04.2025 stimmt nicht.", "Merci d'avance.",
        "Gracias por su ayuda.", "It is about version 2.14.3 of the app.",
        "Please answer before 12/31/2025, 17:30.",
        "Mit freundlichen Grüßen", "Bestellung Nr. 2024-11873 kam nie an.",
        "I have been waiting for 3 weeks.",
    ),
    "EMAIL": (
        "You can write to me at {}.", "Meine Adresse ist {}", "mailto:{}", "From: Anna <{}>\nSubject: parcel",
        "mail:{}, thanks", "Mon adresse e-mail est {} ; merci.", "Please change {} to my new one", "{}",
        "Contact\n{}\nfor more.", "Schreiben Sie an {}!", "cc {}/support", "user={}&lang=en",
        "Mi correo es {}.",
    ),
    "PHONE": (
        "Please call me: {}.", "Sie erreichen mich unter {}", "Tel.: {}", "My number is {}, after 6 pm.",
        "Tel:{}",
        "{} is where you can reach me", "Fax {}\nMail none", "Mobile: {} (evenings)", "Mon téléphone : {}.",
        "Llámame al {}, por favor", "You rang me from {} yesterday", "Ring {} or come by.",
        "Kontakt\n{}\nDanke",
        "I changed my phone to {}", "Handy {}; danke", "Can the driver try {} please?", "mobil:{}",
    ),
    "PHONE_NAMED": (
        "Please call me: {}.", "Mi teléfono es el {}", "My phone number is {}, after 6 pm.", "Tel. {}",
        "Meine Handynummer: {}", "WhatsApp {} please", "Mobile: {} (evenings)", "Telefono {}",
        "Llámame al {}, gracias",
        "You can reach me on {}", "Mój numer telefonu to {}", "text or call {}", "{} is my mobile number",
    ),
    "IBAN": (
        "Please refund to {}.", "Meine IBAN lautet {}", "IBAN: {}", "IBAN:{}", "Le compte {} est à moi.",
        "Transfer it to {}, thanks", "{}", "Mi cuenta es {}.\nGracias", "the account ({}) was charged twice",
        "Konto {} bei der Sparkasse", "Bank details\n{}\nAnna Schmidt",
    ),
    "CARD": (
        "My card {} was charged twice.", "Kreditkarte {}, gültig bis 12/27",
        "card no. {} exp 04/28 cvc 123", "{}",
        "I paid with {}.", "La tarjeta {} no funciona", "Visa: {}", "Ma carte est la {}.", "number={};",
        "The payment with\n{}\nfailed", "card:{}", "Bitte buchen Sie von {} ab!",
        "I typed {} and it says invalid",
    ),
    "NATIONAL_ID": (
        "My ID is {}.", "Here it is: {}", "You asked for my number: {}, I hope that helps.", "{}",
        "Hier meine Nummer:\n{}", "For the identity check: {}", "ID {} - is that enough?", "Mi número es {}.",
    ),
    "IP": (
        "I was logged in from {}.", "Der Server {} antwortet nicht", "ping {} times out",
        "host {} is down", "Someone at {} used my account", "IP: {}", "IP={}", "client {}, GET /login",
        "Login from\n{}\nwas not me", "Mon adresse IP est {}.", "blocked ({})",
    ),
    "SECRET": (
        "I use {} and get 401.", "Mein Schlüssel ist {}", "key={}", "export TOKEN={}", '{"key": "{}"}', "{}",
        "Authorization: Bearer {}", "curl -H 'X-Key: {}' https://api.example.com",
        "Here is it:\n{}\nRevoke it please",
        "Why is {} rejected?", "token: {}",
    ),
    "PASSWORD": (
        "password: {}", "My password is {}", "Passwort: {}", "Mein Passwort ist {}", "pwd={}",
        "user anna, password: {}", "PASSWORD={}", '"password": "{}"', "login anna / passwd: {}",
        "contraseña: {}", "Mot de passe : {}", "The password is: {}", "db_password = '{}'",
    ),
    "ASSIGNMENT": (
        "api_key={}", "API key: {}", "secret = '{}'", "client_secret: {}", "access_token={}",
        '"apiKey": "{}"',
        "Authorization: Bearer {}", "auth-token: {}", "My API key is {}", "SECRET_KEY={}",
    ),
    "ADDRESS": (
        "Please send it to {}.", "I moved to {}", "Meine Adresse: {}", "Lieferung an {}, bitte.",
        "J'habite au {}.",
        "Ship to:\n{}\nThanks",
        "Vivo en {}.", "The parcel went to {} instead", "Address: {}",
    ),
    "LOOK_ALIKE": (
        "I see {} on the page.", "Is it {}?", "{}", "The value was {} yesterday.", "Es war {}", "{} arrived.",
        "It says {}, why?", "Result: {}", "My order {} is late", "tracking number {}", "Invoice {}, please",
        "On {} I paid", "reference ({})", "it cost me {} in total", "Please look at {}.",
        "Bestellung {} fehlt",
    ),
}  # fmt: skip

# What has digits and is nobody's.
LOOK_ALIKES = (
    "%########", "%#######", "%##########", "2024-%####", "2024-#####-##", "INV-2024-%#####", "#%######-A",
    "%##-%######-%######", "1Z%##@#@%#########", "9400 1%## #### #### #### ##", "@@%########GB",
    "JD0146000%#########", "978-3-16-%####0-#", "%###.%#", "$1,%##,%##.%#", "1.%##.%##,%# €", "%## ### EUR",
    "1 %## ### kr", "2024-05-1%T17:%0:22Z", "17:30:1%", "1%.05.2024", "5/1%/2024", "1% May 2024",
    "20240%1%", "17%########", "17%###########", "%#:%#", "48.1%####, 11.%#####", "-73.9%#####", "v1.%.1%",
    "version 2.1%.%#.1", "1%#.0.%####.%", "00:1%:2B:3C:4D:5E", "%##x%##", "RTX 40%0", "SKU %####-%##",
    "A%#-%##-%###", "%## + %## = %###", "0x%#A%F0", "%### %### %### ####", "%###%###%###%###", "%########-%",
    "8%##-%###-%###", "3.14159%###", "CVE-2024-%####", "RFC %###", "IMEI 35%###########",
    "ISBN 978316%######", "EAN 4006381%#####", "12.05.24", "%### mAh", "§ %# Abs. %", "%#/%#", "600 000 000",
    "2%##-2%##", "0,%###",
    "00%##", "@@-%###", "iPhone 1%", "+%#%", "-%###", "%###-%###", "%##.%##.%##", "ID:%#######", "#%#######",
    "Ryzen %, 4%00 MHz", "May %, 2024 Friday", "max_tokens=%###", "%.%.%.%", "2%F%AC0%-1D3B-4E5F-8A7B-%#CDEF",
)  # fmt: skip

ADDRESSES = (
    "%# Baker Street", "22#B Baker St, London NW1 6XE", "16## Pennsylvania Ave NW, Washington, DC 20500",
    "%#0 Oak Lane, Springfield, IL 62704", "%# Old Mill Road, Apt 4B, Portland, OR 97201",
    "3## 5th Avenue, New York",
    "Hauptstraße %, 10%## Berlin", "Goethestr. 1%, 80%## München",
    "Berliner Straße 1#a, 60%## Frankfurt am Main",
    "Lindenweg %, 50%## Köln", "Hauptstraße %\n12%## Berlin", "Schillerstraße 2#",
    "%# rue de la Paix, 75002 Paris", "%, avenue des Champs-Élysées, 75008 Paris",
    "1% bis rue Victor Hugo, 69002 Lyon",
    "Via Roma %#, 00184 Roma", "Calle Mayor %, 28013 Madrid", "Keizersgracht 1%#, 1015 CJ Amsterdam",
    "Emma-Hummel-Straße %#, 60%## Frankfurt", "Leopold-Figl-Gasse %, 1%#0 Wien", "Ringveien 1%, 0%## Oslo",
    "Musílkova %#\n258 9# Kolín", "ul. Rybacka 5%, 12-8## Lubartów", "40% Bryant Radial, Boston, MA 021##",
    "Avenida da Liberdade 1%#, 1250-096 Lisboa", "Drottninggatan %#, 111 51 Stockholm",
)  # fmt: skip


class National(NamedTuple):
    """An identity number.

    Attributes:
        shape: As `personal_data` fills it; YY, MM and DD a date, `?` what the check digits decide.
        check: Its module in python-stdnum; empty where there are no check digits.
        layouts: Sizes of groups and what stands between them; `as is` changes nothing.
        sentences: Sentences that name it.
        named: Whether it is told from other numbers only where it is named.
        letter: Whether what `?` stands for may be a letter.
    """

    shape: str
    check: str
    layouts: tuple[tuple[tuple[int, ...], str], ...]
    sentences: tuple[str, ...]
    named: bool = False
    letter: bool = False


_AS_IS = (((), "as is"),)
NATIONAL = (
    National("2##-4#-%###", "us.ssn", _AS_IS, ("My SSN is {}.", "SSN: {}", "social security no. {}")),
    National("51#4#%###", "us.ssn", _AS_IS, ("My SSN is {}.", "Social security number: {}"), True),
    National(
        "%#########?", "de.idnr", (((2, 3, 3), " "), ((), "")), ("Steuer-ID: {}", "Meine IdNr. ist {}."), True
    ),
    National("########?", "es.dni", (((), ""), ((8,), "-")), ("Mi DNI es {}", "DNI: {}"), letter=True),
    National("X#######?", "es.nie", (((), ""), ((1, 7), "-")), ("NIE {}", "mi NIE es {}."), letter=True),
    National(
        "RSSMR@YYA%#H501?", "it.codicefiscale", _AS_IS, ("Codice fiscale: {}", "il mio CF è {}"), letter=True
    ),
    National(
        "2YYMM7511600#??", "fr.nir", (((), ""), ((1, 2, 2, 2, 3, 3), " ")), ("NIR {}", "N° de sécu : {}")
    ),
    National(
        "%#######?", "nl.bsn", (((), ""), ((3, 3), "."), ((4, 2), ".")), ("BSN: {}", "Mijn BSN is {}"), True
    ),
    National("YYMMDD####?", "pl.pesel", (((), ""),), ("PESEL {}", "Mój PESEL to {}.", "pesel: {}"), True),
    National("###.###.###-??", "br.cpf", _AS_IS, ("CPF {}", "Meu CPF é {}")),
    National("%########??", "br.cpf", (((), ""),), ("CPF: {}", "meu CPF é {}"), True),
    National(
        "%########?",
        "gb.nhs",
        (((3, 3), " "), ((), ""), ((3, 3), "-")),
        ("NHS number {}", "My NHS no. is {}"),
        True,
    ),
    National(
        "AB######C",
        "",
        (((2, 2, 2, 2), " "), ((), "")),
        ("National Insurance number: {}", "NINO {}", "my NI is {}"),
    ),
    National("YYMMDD###??", "be.nn", _AS_IS, ("Rijksregisternummer: {}", "mon NISS est {}"), True),
    National("YY.MM.DD-###.??", "be.nn", _AS_IS, ("Rijksregisternummer {}", "NISS : {}")),
    National("YYMMDD-###?", "se.personnummer", _AS_IS, ("personnummer {}", "Mitt personnummer är {}")),
    National("19YYMMDD###?", "se.personnummer", (((8,), "-"), ((), "")), ("Personnummer: {}",), True),
    National("DDMMYY-%##?", "fi.hetu", _AS_IS, ("henkilötunnus {}", "HETU: {}"), letter=True),
    National("DDMM0%A%##?", "fi.hetu", _AS_IS, ("henkilötunnus {}", "HETU: {}"), letter=True),
    National(
        "%##########?",
        "in_.aadhaar",
        (((4, 4), " "), ((4, 4), "-"), ((), "")),
        ("Aadhaar: {}", "my aadhaar no {}"),
        True,
    ),
    National(
        "DDMMYY###??", "no.fodselsnummer", (((6,), " "), ((), "")), ("Fødselsnummer: {}", "fnr {}"), True
    ),
    National("756.####.####.#?", "ch.ssn", _AS_IS, ("AHV-Nr. {}", "Meine AHV-Nummer: {}")),
    National("11010119YYMMDD###?", "cn.ric", _AS_IS, ("ID card {}", "身份证 {}")),
)
