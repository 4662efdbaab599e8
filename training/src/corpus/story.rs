//! Little stories: a hero, a place, an object, something that happens, an end.

use fastrand::Rng;

use super::{name, pick, words};

/// What a story is made of. Whoever asks for one may name any of it.
#[derive(Debug, Clone)]
pub struct Cast {
    pub name: String,
    pub kind: &'static str,
    pub feeling: &'static str,
    pub place: &'static str,
    pub colour: &'static str,
    pub object: &'static str,
    friend: String,
    friend_kind: &'static str,
    spot: &'static str,
    food: &'static str,
    hero_pronouns: [&'static str; 3],
    friend_pronouns: [&'static str; 3],
}

const SHE: [&str; 3] = ["she", "her", "her"];
const HE: [&str; 3] = ["he", "him", "his"];

impl Cast {
    pub fn draw(random: &mut Rng) -> Cast {
        let rare = random.f32() < 0.2;
        let kind = pick(random, if rare { words::RARE_KINDS } else { words::KINDS });
        let female = match kind {
            "girl" | "queen" | "princess" | "witch" | "fairy" | "hen" | "cow" => true,
            "boy" | "king" | "prince" | "knight" => false,
            _ => random.bool(),
        };
        let hero = name(random, Some(female));
        let friend_kind = loop {
            let other = pick(random, &words::KINDS[..27]);
            if other != kind {
                break other;
            }
        };
        let friend_female = random.bool() || friend_kind == "hen" || friend_kind == "cow";
        let friend = loop {
            let other = name(random, Some(friend_female));
            if other != hero {
                break other;
            }
        };
        Cast {
            name: hero,
            kind,
            feeling: pick(random, words::FEELINGS),
            place: pick(random, words::PLACES),
            colour: pick(random, words::COLOURS),
            object: pick(random, words::OBJECTS),
            friend,
            friend_kind,
            spot: pick(random, words::SPOTS),
            food: pick(random, words::FOODS),
            hero_pronouns: if female { SHE } else { HE },
            friend_pronouns: if friend_female { SHE } else { HE },
        }
    }

    /// A whole story.
    pub fn story(&self, random: &mut Rng) -> String {
        let plot = pick(random, PLOTS);
        let parts = [INTRODUCTIONS].into_iter().chain(plot.iter().copied()).chain([ENDINGS]);
        let sentences: Vec<String> = parts.map(|variants| self.fill(pick(random, variants))).collect();
        super::with_articles(&sentences.join(" "))
    }

    /// Puts the cast into a sentence. Capital letters where the placeholder has one.
    pub fn fill(&self, sentence: &str) -> String {
        let mut out = String::new();
        let mut rest = sentence;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, after) = after.split_once('}').unwrap_or((after, ""));
            out.push_str(before);
            out.push_str(&match word {
                "He" | "His" | "FHe" | "FHis" => super::capital(&self.word(&word.to_lowercase())),
                _ => self.word(word),
            });
            rest = after;
        }
        out + rest
    }

    fn word(&self, placeholder: &str) -> String {
        match placeholder {
            "name" => &self.name,
            "kind" => self.kind,
            "feeling" => self.feeling,
            "place" => self.place,
            "colour" => self.colour,
            "object" => self.object,
            "friend" => &self.friend,
            "fkind" => self.friend_kind,
            "spot" => self.spot,
            "food" => self.food,
            "he" => self.hero_pronouns[0],
            "him" => self.hero_pronouns[1],
            "his" => self.hero_pronouns[2],
            "fhe" => self.friend_pronouns[0],
            "fhim" => self.friend_pronouns[1],
            "fhis" => self.friend_pronouns[2],
            _ => unreachable!("no such placeholder: {placeholder}"),
        }
        .to_string()
    }
}

const INTRODUCTIONS: &[&str] = &[
    "Once upon a time there was a {feeling} {kind} named {name}. {He} lived {place} and had a {colour} {object}.",
    "A {feeling} {kind} named {name} lived {place}. {He} had a {colour} {object}.",
    "{name} was a {feeling} {kind} who lived {place}. {He} loved {his} {colour} {object}.",
    "Long ago a {feeling} {kind} lived {place}. {His} name was {name}, and {he} had a {colour} {object}.",
    "This is the story of {name}, a {feeling} {kind}. {He} lived {place} and always carried a {colour} {object}.",
];

const ENDINGS: &[&str] = &[
    "From that day on, {name} and {friend} were best friends. The end.",
    "{name} and {friend} laughed and went home together. The end.",
    "That night {name} slept well and dreamed of {friend}. The end.",
    "{name} and {friend} never forgot that day. The end.",
    "And so {name} and {friend} played {place} every day. The end.",
];

/// What happens, sentence by sentence, each in some variants. All have the hero's object and a friend.
const PLOTS: &[&[&[&str]]] = &[
    // The object is lost and found.
    &[
        &[
            "One day {he} lost the {object}.",
            "One morning the {object} was gone.",
            "One day {name} could not find the {object}.",
        ],
        &[
            "{He} looked everywhere, but it was not there.",
            "{He} looked under the bed and behind the house.",
            "{name} began to cry.",
        ],
        &[
            "Then {he} met a {fkind} named {friend}.",
            "A {fkind} named {friend} came by.",
            "{He} asked {friend} the {fkind} for help.",
        ],
        &[
            "\"I will help you,\" said {friend}.",
            "\"Do not worry,\" said {friend}. \"We will find it.\"",
            "{friend} wanted to help.",
        ],
        &[
            "They looked together and found the {object} {spot}.",
            "At last {friend} saw the {object} {spot}.",
        ],
        &[
            "{name} was very happy and said, \"Thank you!\"",
            "\"Thank you, {friend}!\" said {name}.",
        ],
    ],
    // Sharing.
    &[
        &[
            "One day a {fkind} named {friend} came to play.",
            "One day {name} met {friend} the {fkind}.",
            "A {fkind} named {friend} lived next door.",
        ],
        &[
            "{friend} wanted to hold the {object}.",
            "\"May I play with your {object}?\" asked {friend}.",
            "{friend} liked the {object} very much.",
        ],
        &[
            "\"No, it is mine!\" said {name}.",
            "But {name} did not want to share.",
            "{name} held the {object} tight and said no.",
        ],
        &[
            "{friend} was sad and walked away.",
            "{friend} sat down {spot} and cried.",
            "{friend} went home with tears in {fhis} eyes.",
        ],
        &[
            "Then {name} felt sorry.",
            "{name} saw this and felt bad.",
            "Soon {name} did not like to play alone.",
        ],
        &[
            "{He} ran to {friend} and said, \"We can share it.\"",
            "\"I am sorry,\" said {name}. \"Let us play together.\"",
            "{He} gave the {object} to {friend}.",
        ],
        &[
            "They played with the {object} until the sun went down.",
            "Both of them had a lot of fun.",
            "{friend} smiled and they played all day.",
        ],
    ],
    // Rain.
    &[
        &[
            "One day {he} played outside with {friend} the {fkind}.",
            "One day {name} took a walk with a {fkind} named {friend}.",
        ],
        &[
            "Suddenly it began to rain.",
            "Dark clouds came and the rain fell.",
            "Then a big storm came.",
        ],
        &[
            "{name} wanted to run home, but it was too far.",
            "The wind was loud and {friend} was scared.",
            "They were wet and cold.",
        ],
        &[
            "\"Come here!\" said {name}. \"We can hide {spot}.\"",
            "{name} found a dry place {spot}.",
            "They sat down {spot} and waited.",
        ],
        &[
            "{He} held the {object} over {friend} to keep {fhim} dry.",
            "To pass the time, {name} showed {friend} the {object}.",
            "They ate {food} and told stories about the {object}.",
        ],
        &[
            "At last the rain stopped and the sun came out.",
            "Soon the sky was blue again.",
            "Then they saw a rainbow in the sky.",
        ],
    ],
    // A birthday.
    &[
        &[
            "Today was the birthday of {friend} the {fkind}.",
            "{name} had a friend, a {fkind} named {friend}, and it was {fhis} birthday.",
        ],
        &[
            "{name} wanted to give {fhim} a present, but {he} had no money.",
            "{name} had no present and did not know what to do.",
        ],
        &[
            "{He} thought and thought.",
            "{He} sat down {spot} and thought for a long time.",
            "Then {he} had an idea.",
        ],
        &[
            "\"I will give {fhim} my {object},\" said {name}.",
            "{He} put the {colour} {object} in a box and closed it.",
            "{He} cleaned the {object} until it looked like new.",
        ],
        &[
            "{friend} opened the box and smiled.",
            "\"What a lovely {object}!\" said {friend}.",
            "{friend} was so happy that {fhe} danced.",
        ],
        &[
            "They ate {food} and sang a song.",
            "They had {food} for everyone and danced until night.",
        ],
    ],
    // Broken.
    &[
        &[
            "One day {he} fell and the {object} broke.",
            "One day the {object} fell down and broke.",
            "One morning {name} saw that the {object} was broken.",
        ],
        &[
            "{name} was very sad.",
            "{He} did not know what to do.",
            "{name} cried and cried.",
        ],
        &[
            "A {fkind} named {friend} heard {him}.",
            "{friend} the {fkind} came to see what was wrong.",
            "Then a {fkind} named {friend} came by.",
        ],
        &[
            "\"I can fix it,\" said {friend}.",
            "\"Give it to me,\" said {friend}. \"I know what to do.\"",
            "{friend} was good with tools.",
        ],
        &[
            "{friend} worked all day and all night.",
            "They worked on it together.",
            "{friend} took some glue and some string.",
        ],
        &[
            "In the morning the {object} was as good as new.",
            "Soon the {object} was whole again.",
            "At last the {object} was fixed.",
        ],
        &[
            "{name} gave {friend} some {food} to say thank you.",
            "\"You are the best!\" said {name}.",
        ],
    ],
    // A strange noise.
    &[
        &[
            "One night {name} heard a strange noise.",
            "One evening there was a loud noise outside.",
            "One night something made a noise {spot}.",
        ],
        &[
            "{He} was afraid and hid under a blanket.",
            "{name} held the {object} tight.",
            "\"Who is there?\" {he} asked, but nobody answered.",
        ],
        &[
            "But {he} wanted to know what it was.",
            "Then {he} was brave and went outside.",
            "{He} took the {object} and opened the door.",
        ],
        &[
            "It was only a small {fkind} named {friend}.",
            "There sat a {fkind}. \"I am {friend},\" said the {fkind}.",
        ],
        &[
            "\"I am lost and cold,\" said {friend}.",
            "{friend} was hungry and far from home.",
            "{friend} was even more afraid than {name}.",
        ],
        &[
            "{name} let {fhim} in and gave {fhim} {food}.",
            "\"Come in,\" said {name}, and they ate {food}.",
            "{name} gave {friend} a warm place to sleep.",
        ],
    ],
    // Stuck in a tree.
    &[
        &[
            "One day the wind took the {object} and blew it into a tall tree.",
            "One day {name} threw the {object} too high and it got stuck in a tree.",
        ],
        &[
            "{name} jumped, but {he} could not reach it.",
            "{He} tried to climb the tree, but it was too high.",
            "{He} threw a stick, but the {object} did not move.",
        ],
        &[
            "A {fkind} named {friend} saw it.",
            "Then {friend} the {fkind} came along.",
            "{name} called {friend} the {fkind}.",
        ],
        &[
            "\"Stand on my back,\" said {friend}.",
            "\"Let us try it together,\" said {friend}.",
            "{friend} had a good idea.",
        ],
        &[
            "Together they were tall enough, and {name} got the {object} back.",
            "They shook the tree, and the {object} fell down.",
            "{friend} pushed and {name} pulled, and down came the {object}.",
        ],
        &[
            "\"We did it!\" they shouted.",
            "\"Thank you!\" said {name}.",
            "{name} jumped for joy.",
        ],
    ],
    // Lost on the way home.
    &[
        &[
            "One day {he} walked too far and lost {his} way.",
            "One day {name} went for a walk and got lost.",
        ],
        &[
            "The sun went down and it got dark.",
            "All the paths looked the same.",
            "{He} did not know where to go.",
        ],
        &[
            "{name} sat down {spot} and cried.",
            "\"I want to go home,\" said {name}.",
            "{He} held the {object} and felt very small.",
        ],
        &[
            "Then a {fkind} named {friend} came by.",
            "A {fkind} heard {him}. It was {friend}.",
        ],
        &[
            "\"I know the way,\" said {friend}. \"Come with me.\"",
            "\"Follow me,\" said {friend}.",
        ],
        &[
            "They walked and walked until they saw the house.",
            "{friend} showed {him} the way home.",
            "Soon {name} was home again.",
        ],
        &[
            "{name} gave {friend} the {object} as a present.",
            "They ate {food} together by the fire.",
            "\"Thank you for your help,\" said {name}.",
        ],
    ],
    // Learning.
    &[
        &[
            "{name} wanted to learn to swim.",
            "{name} wanted to learn to dance.",
            "{name} wanted to learn to sing.",
        ],
        &[
            "{He} tried, but it was too hard.",
            "{He} tried and tried, but it did not work.",
            "The first time {he} fell down.",
        ],
        &[
            "\"I will never learn it,\" said {name}, and threw the {object} away.",
            "{name} sat down next to the {object} and was sad.",
        ],
        &[
            "{friend} the {fkind} saw {him}.",
            "A {fkind} named {friend} watched {him}.",
        ],
        &[
            "\"Try again,\" said {friend}. \"I will help you.\"",
            "\"You must try every day,\" said {friend}.",
        ],
        &[
            "So {name} tried every day.",
            "The next day they tried again, and the day after that.",
        ],
        &[
            "And one day {he} could do it!",
            "At last it worked, and {friend} clapped.",
            "After a week {name} was very good at it.",
        ],
    ],
    // Hungry friend.
    &[
        &[
            "One cold day {he} met a {fkind} named {friend}.",
            "One winter day a {fkind} named {friend} stood at the door.",
        ],
        &[
            "\"I am so hungry,\" said {friend}.",
            "{friend} had nothing to eat.",
            "{friend} was cold and hungry.",
        ],
        &[
            "{name} had only a small bag of {food}.",
            "There was only one plate of {food} in the house.",
        ],
        &[
            "But {he} shared it with {friend}.",
            "\"We can share it,\" said {name}.",
            "{He} gave half of it to {friend}.",
        ],
        &[
            "In spring {friend} came back with a big basket of {food}.",
            "The next day {friend} brought a surprise: a bag full of {food}.",
        ],
        &[
            "\"You helped me, so I help you,\" said {friend}.",
            "\"This is for you,\" said {friend}, \"because you were kind.\"",
        ],
        &[
            "They put the {object} on the table and had a feast.",
            "They ate, and {name} showed {friend} the {object}.",
        ],
    ],
    // A found owner.
    &[
        &[
            "{He} had found the {object} {spot}.",
            "One day {name} saw that there was a name on the {object}.",
        ],
        &[
            "\"Whose is it?\" asked {name}.",
            "{name} wanted to find out who had lost it.",
            "It was not really {his}.",
        ],
        &[
            "{He} asked everybody {place}.",
            "{He} went from house to house and asked.",
        ],
        &[
            "At last {he} met {friend} the {fkind}, who was crying.",
            "Then a {fkind} named {friend} came. {FHe} looked very sad.",
        ],
        &[
            "\"I lost my {object},\" said {friend}.",
            "\"That is my {object}!\" said {friend}.",
        ],
        &[
            "{name} gave it back at once.",
            "\"Here it is,\" said {name}.",
            "It was hard, but {name} gave the {object} back.",
        ],
        &[
            "{friend} hugged {him} and gave {him} some {food}.",
            "{friend} was so happy that {fhe} gave {him} a new {object}.",
        ],
    ],
    // A race.
    &[
        &[
            "One day {friend} the {fkind} said, \"Let us run a race!\"",
            "One day there was a big race, and {friend} the {fkind} wanted to win it.",
        ],
        &[
            "The prize was a bag of {food}.",
            "{name} put down the {object} and got ready.",
            "Everybody came to watch.",
        ],
        &[
            "They ran as fast as they could.",
            "{friend} was fast, but {name} was faster.",
            "First {friend} was ahead, then {name}.",
        ],
        &[
            "Suddenly {friend} fell and hurt {fhis} foot.",
            "Then {friend} fell into a hole.",
        ],
        &[
            "{name} stopped and went back.",
            "{name} could win now, but {he} turned around.",
        ],
        &[
            "{He} helped {friend} up, and they walked to the end together.",
            "\"A friend is more than a prize,\" said {name}.",
        ],
    ],
];
