"""What customers of a made-up electronics shop write: `[a|b]` is one of the two, `{slot}` a filler."""

from __future__ import annotations

QUEUES = ("account", "billing", "feedback", "product", "returns", "shipping", "subscription", "technical")

SLOTS = {
    "device": "headphones|kettle|desk lamp|router|speaker|camera|keyboard|toaster|fan|monitor|radio|charger",
    "amount": "12|19|24|35|49|60|79|120",
    "month": "January|February|March|April|May|June|July",
    "city": "Leeds|Porto|Graz|Lyon|Gent|Turin|Malmo|Cork",
    "number": "1182|2047|3391|4460|5528|6713|7905|8834",
    "days": "two|three|four|five|six|ten",
    "hour": "3|4|5|6|7|8",
    "cell": "Nimbus cell|Nimbus pack|Nimbus unit|wall cell|home battery|Nimbus",
    "kilo": "5|8|10|12|16",
}

GREETINGS = ("Hello,", "Hi there,", "Dear team,", "Good morning,", "Hi,", "", "", "", "")

CLOSINGS = (
    "Please help.",
    "Thanks in advance.",
    "Can somebody look into this?",
    "I am waiting for an answer.",
    "Kind regards from {city}.",
    "I bought it in {month}.",
    "It is about order {number}.",
    "Write to me at {email}.",
    "I have been a customer for {days} years.",
    "I ask for the second time, order {number}.",
    "You can call me after {hour} in the evening.",
    "Sorry for my English.",
    *("",) * 9,
)

USUAL = {
    "billing": (
        "I was [charged|billed] [twice|two times] for the {device}.",
        "My [invoice|bill] for {month} [shows|lists] {amount} euros [too much|more than agreed].",
        "Please send me [an invoice|a receipt] with [our company's VAT number|my tax number] on it.",
        "My [credit card|bank card] was [declined|refused] [when I tried to pay|at the checkout].",
        "The [discount|voucher|coupon] of {amount} euros was not [taken off|subtracted from] the total.",
        "Why is there a [fee|surcharge] of {amount} euros on my [statement|invoice]?",
        "I [paid|transferred the money] {days} days ago and still get a payment [reminder|warning].",
        "The [amount|sum] that you took from my [account|bank account] is [wrong|not the price I saw].",
    ),
    "shipping": (
        "My [parcel|package] [has not arrived|is still not here] after {days} days.",
        "The tracking [page|number] [says|shows] that my [parcel|package|order] is stuck in {city}.",
        "The [courier|driver] left the {device} with a [neighbour|stranger] in {city}.",
        "Can you [change|correct] the delivery address of my order to {city}?",
        "When will my {device} be [delivered|dispatched|sent out]?",
        "The [box|carton] was [crushed|open] when the [courier|postman] brought it.",
        "I was at home and [nobody|no courier] rang, now the parcel is [at a depot|on its way back].",
        "Do you [ship|deliver] the {device} to {city}, and what is the postage?",
    ),
    "returns": (
        "I want to [send back|return] the {device}, it is [not what I expected|too big].",
        "How do I [get|print] a return label for [my|the] {device}?",
        "I sent the {device} back {days} days ago and [have no refund|my refund is missing].",
        "You sent me the wrong [colour|model], I would like to [swap|exchange] the {device}.",
        "Is it [still possible|too late] to return something that I bought in {month}?",
        "The {device} was a gift, can I [return|exchange] it without a receipt?",
        "Please take the {device} back and [refund|give me back] my {amount} euros.",
        "Where do I [drop off|hand in] the {device} that I want to [return|give back]?",
    ),
    "account": (
        "I [cannot log in|can't sign in], it says that my [password|login] is wrong.",
        "The mail to reset my password [never arrives|does not come].",
        "How can I change the [email address|phone number|surname] in my profile?",
        "Please [delete|close] my [account|profile] and all my data.",
        "Somebody [else logged|has logged] into my account from {city}.",
        "My account is [locked|blocked] after {days} [attempts|tries] to sign in.",
        "I have two [accounts|profiles] and would like to [merge|join] them.",
        "The [code|text message] for the two-step login [is never sent|does not reach my phone].",
    ),
    "technical": (
        "The {device} [does not turn on|stays dark] [any more|since yesterday].",
        "My {device} [loses|drops] the [wifi|bluetooth] connection every {days} minutes.",
        "After the [firmware|software] update the {device} [crashes|freezes|restarts by itself].",
        "The app [cannot find|does not see] my {device}, [an error|error {number}] appears.",
        "The [screen|display] of the {device} [flickers|shows only stripes].",
        "The battery of my {device} is [empty|flat] after {days} hours.",
        "There is a [loud hiss|strange noise] when I [start|use] the {device}.",
        "The {device} [gets very hot|smells burnt] and [switches itself off|stops working].",
    ),
    "product": (
        "Does the {device} [work with|fit] [a phone of another brand|my old {device}]?",
        "What is the difference between the [small|basic] and the [large|pro] {device}?",
        "Is the {device} [in stock|available] in [white|black|green]?",
        "How [heavy|long|wide] is the {device}, the page does not say.",
        "Which {device} would you [recommend|suggest] for a [small flat|large office]?",
        "When will the new {device} [come out|be available] in {city}?",
        "Can the {device} be [used|placed] [outdoors|in a bathroom]?",
        "Do you sell [spare parts|a case|a cable] for the {device}?",
    ),
    "subscription": (
        "I want to [cancel|end] my [membership|subscription] [at the end of {month}|now].",
        "How do I [upgrade|move] from the monthly to the yearly [plan|subscription]?",
        "Can I [pause|suspend] my [membership|plan] for {days} months?",
        "My [plan|subscription] was [renewed|extended] although I had cancelled it.",
        "What is [included|contained] in the [premium|family] [plan|membership]?",
        "My free trial [ended|ran out] and I [do not want|never wanted] the paid plan.",
        "Can I [add|share] my family [membership|plan] with {days} people?",
        "Please [downgrade|put] me to the [cheaper|basic] [plan|membership] from {month} on.",
    ),
    "feedback": (
        "I [love|really like] the {device}, [great work|keep it up].",
        "Your [hotline|chat] kept me waiting for {days} hours, that is [a shame|not acceptable].",
        "The [new website|shop] is [confusing|hard to read], [please change it back|it was fine before].",
        "Your colleague in {city} was [very kind|extremely friendly], please [thank|praise] her.",
        "I am [disappointed|unhappy] with [your service|the way I was treated].",
        "It would be [nice|great] if the shop had a [dark mode|wish list].",
        "[Just wanted to say|Let me say] that everything went [smoothly|perfectly], five stars.",
        "I have a [suggestion|complaint] about [the advertising|your newsletter], it is [too loud|too much].",
    ),
}

# These say nothing about the queue that the ticket belongs to.
VAGUE = (
    "There is a problem with my {device}.",
    "I have a question about order {number}.",
    "Something is wrong with order {number}, please call me.",
    "I wrote to you in {month} about the {device} and got no answer.",
    "I need help with the {device} that I ordered.",
)

# The new product line's customers write in a chat: short, without greeting or full stop.
MOVED = {
    "billing": (
        "feed-in credit [missing|not on the sheet] for {month}",
        "{cell} [instalment|rate] went up to {amount}, who agreed to that",
        "[grid levy|meter levy] of {amount} on the {month} sheet, what for",
        "direct debit for the {cell} [bounced|ran two times], {amount} each",
        "need the [tax form|subsidy paper] for the {cell} instalments",
    ),
    "shipping": (
        "crew with the {cell} [never showed up|did not come] on the agreed morning",
        "pallet with the {cell} [stands|was dumped] on the pavement in {city}",
        "which [week|slot] does the crew bring the {cell} to {city}",
        "half of the pallet missing, only the [brackets|rails] came, no {cell}",
        "can the lorry with the {cell} come a week later",
    ),
    "returns": (
        "want the {cell} [unmounted|off the wall] and my money back",
        "[who collects|how do i hand over] the old {cell} after the swap",
        "changed my mind, {cell} [still sealed|not mounted yet], take it away",
        "wrong {kilo} kilowatt {cell} on the wall, swap it for the right one",
        "withdrawal from the {cell} contract, crew should pick it up",
    ),
    "account": (
        "sold the house, move the [site|household] to the new owner",
        "[tenant|partner] needs [viewer|co-owner] rights for our site",
        "passkey for the energy portal [gone|lost] with my old phone",
        "site shows the wrong household, [not my roof|not my street]",
        "energy portal throws me out after the passkey",
    ),
    "technical": (
        "inverter blinks [amber|red], {cell} [stuck|frozen] at {kilo} percent",
        "{cell} does not [take over|kick in] when the grid is down",
        "no reading from the [smart meter|clamp] since {days} days, graph is flat",
        "{cell} [hums|clicks] at night and the inverter trips the fuse",
        "fault {number} on the inverter after the storm in {city}",
    ),
    "product": (
        "how many kilowatt hours does the {cell} hold",
        "can i [stack|chain] {days} of them next to the heat pump",
        "[garage|cellar] gets to minus {kilo}, is the {cell} fine with that",
        "does the {cell} go with [panels|an inverter] from another maker",
        "{kilo} kilowatt version, when is it out and how thick is it",
    ),
    "subscription": (
        "switch me from the [night|flex] tariff to the [green|fixed] one",
        "want out of the [green|flex] tariff by {month}",
        "is the [guard|care] package part of the flex tariff",
        "tariff [rolled over|went on] by itself for a year, did not want that",
        "how long am i tied to the [green|night] tariff",
    ),
    "feedback": (
        "installers were [spotless|superb], whole street jealous now",
        "[tidy|neat] crew, [ten out of ten|would do it again]",
        "colours of the energy graph are [awful|ugly], blind people too exist",
        "crew [smoked|shouted] in our cellar, [not ok|really rude]",
        "please show the savings in trees, kids would be thrilled",
    ),
}

# Small talk of the chat; it says nothing about the queue.
MOVED_TAILS = (
    "",
    "",
    "",
    "",
    "thx",
    "cheers",
    "asap pls",
    "we are in {city}",
    "bought in {month}",
    "{email}",
)
