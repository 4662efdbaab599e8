//! The words of the little world.

pub const GIRLS: &[&str] = &[
    "Ada", "Anna", "Bella", "Clara", "Daisy", "Ella", "Emma", "Eva", "Flora", "Grace", "Hana", "Ida", "Ivy", "Jane",
    "Julia", "Kate", "Lena", "Lily", "Lucy", "Luna", "Mary", "Maya", "Mia", "Mila", "Molly", "Nina", "Nora", "Olga",
    "Pia", "Polly", "Rita", "Rosa", "Ruby", "Sara", "Sofia", "Stella", "Sue", "Tina", "Vera", "Zoe",
];

pub const BOYS: &[&str] = &[
    "Adam", "Alex", "Anton", "Ben", "Bob", "Carl", "Dan", "David", "Emil", "Felix", "Finn", "Fred", "George", "Hans",
    "Hugo", "Ivan", "Jack", "Jan", "Jim", "Karl", "Leo", "Liam", "Luke", "Mark", "Max", "Milo", "Nick", "Noah",
    "Oscar", "Otto", "Paul", "Peter", "Rex", "Sam", "Theo", "Tim", "Tobi", "Tom", "Viktor", "Will",
];

/// Names made of these are in nobody's list: whoever tells the model a name should hear that name again.
pub const NAME_BEGINNINGS: &[&str] = &[
    "Ba", "Be", "Bo", "Da", "Do", "Fa", "Fi", "Ga", "Gi", "Ha", "Jo", "Ka", "Ki", "Ko", "La", "Lo", "Ma", "Mi", "Mo",
    "Na", "Ni", "No", "Pa", "Pe", "Po", "Ra", "Ri", "Ro", "Sa", "Si", "Ta", "Te", "Ti", "To", "Va", "Vi", "Wa", "Wi",
    "Ya", "Za",
];
pub const NAME_ENDINGS: &[&str] = &[
    "bo", "da", "di", "do", "ka", "ki", "ko", "la", "li", "lo", "ma", "mi", "mo", "na", "ni", "no", "ra", "ri", "ro",
    "sa", "si", "ta", "ti", "to", "va", "vi", "zo", "nel", "ran", "son", "rin", "mal", "dor", "len", "bert", "vin",
];

/// Who stories are about.
pub const KINDS: &[&str] = &[
    "cat", "dog", "fox", "bear", "rabbit", "mouse", "frog", "duck", "owl", "horse", "cow", "pig", "goat", "sheep",
    "hen", "lion", "tiger", "monkey", "elephant", "turtle", "squirrel", "hedgehog", "wolf", "deer", "penguin",
    "dragon", "robot", "girl", "boy", "king", "queen", "farmer", "pirate", "wizard",
];

/// Now and then it is one of these.
pub const RARE_KINDS: &[&str] = &[
    "snail",
    "bee",
    "crab",
    "whale",
    "parrot",
    "crow",
    "swan",
    "goose",
    "donkey",
    "camel",
    "kangaroo",
    "zebra",
    "giraffe",
    "panda",
    "seal",
    "dolphin",
    "otter",
    "beaver",
    "badger",
    "mole",
    "unicorn",
    "fairy",
    "giant",
    "witch",
    "prince",
    "princess",
    "knight",
    "baker",
    "sailor",
    "teacher",
    "ghost",
    "snowman",
    "monster",
    "astronaut",
    "doctor",
    "painter",
];

/// Where they happen.
pub const PLACES: &[&str] = &[
    "in the forest",
    "in the garden",
    "in the park",
    "in the village",
    "in the castle",
    "in the meadow",
    "in the valley",
    "in the desert",
    "in the jungle",
    "in the town",
    "on the farm",
    "on the hill",
    "on the beach",
    "on the island",
    "on the mountain",
    "on the ship",
    "by the river",
    "by the lake",
    "by the sea",
    "by the pond",
    "at the market",
    "at the school",
    "near the mill",
    "near the bridge",
    "in the city",
    "in the zoo",
    "in the library",
    "in the cave",
    "in the mountains",
    "on the moon",
    "at the harbour",
    "at the station",
    "near the waterfall",
    "by the road",
];

pub const OBJECTS: &[&str] = &[
    "ball",
    "kite",
    "hat",
    "drum",
    "boat",
    "book",
    "lamp",
    "key",
    "bell",
    "doll",
    "basket",
    "coin",
    "cup",
    "blanket",
    "flute",
    "shell",
    "ribbon",
    "wagon",
    "lantern",
    "box",
    "ring",
    "stone",
    "feather",
    "scarf",
    "spoon",
    "map",
    "whistle",
    "mirror",
    "candle",
    "button",
    "rope",
    "umbrella",
    "crown",
    "sword",
    "pencil",
    "balloon",
    "bicycle",
    "teapot",
    "clock",
    "violin",
    "trumpet",
    "guitar",
    "shoe",
    "glove",
    "necklace",
    "telescope",
    "pillow",
    "sled",
    "coat",
    "bottle",
    "letter",
    "bag",
    "pumpkin",
    "flower",
];

pub const COLOURS: &[&str] = &[
    "red", "blue", "green", "yellow", "white", "black", "brown", "pink", "orange", "purple", "grey", "golden",
];

pub const FEELINGS: &[&str] = &[
    "happy", "sad", "brave", "shy", "lonely", "proud", "scared", "tired", "curious", "kind", "hungry", "bored",
    "grumpy", "clever", "angry", "gentle",
];

/// Where lost things lie.
pub const SPOTS: &[&str] = &[
    "under a bush",
    "behind a rock",
    "under a tree",
    "in the tall grass",
    "behind a door",
    "under a leaf",
    "next to a fence",
    "in a hole",
    "behind a wall",
    "under a bench",
];

pub const FOODS: &[&str] = &[
    "apples", "bread", "cake", "soup", "cheese", "berries", "nuts", "honey", "pears", "carrots", "plums", "cookies",
    "rice", "grapes", "pancakes", "cherries",
];

pub const PETS: &[&str] = &[
    "cat", "dog", "rabbit", "mouse", "duck", "horse", "hen", "goat", "turtle", "pig",
];

/// Where a thing can be, for questions about a little scene.
pub const SCENE_PLACES: &[&str] = &[
    "under the table",
    "on the table",
    "behind the door",
    "in the box",
    "under the bed",
    "on the chair",
    "next to the lamp",
    "in the basket",
    "on the roof",
    "behind the tree",
    "under the bridge",
    "in the kitchen",
    "in the garden",
    "near the window",
    "on the shelf",
    "in the barn",
];

/// Each is the other's opposite.
pub const OPPOSITES: &[(&str, &str)] = &[
    ("hot", "cold"),
    ("big", "small"),
    ("up", "down"),
    ("day", "night"),
    ("happy", "sad"),
    ("fast", "slow"),
    ("old", "young"),
    ("wet", "dry"),
    ("hard", "soft"),
    ("light", "dark"),
    ("open", "closed"),
    ("full", "empty"),
    ("long", "short"),
    ("rich", "poor"),
    ("good", "bad"),
    ("clean", "dirty"),
    ("loud", "quiet"),
    ("early", "late"),
    ("near", "far"),
    ("strong", "weak"),
    ("thick", "thin"),
    ("high", "low"),
    ("first", "last"),
    ("left", "right"),
    ("sweet", "sour"),
    ("true", "false"),
    ("black", "white"),
    ("summer", "winter"),
    ("inside", "outside"),
    ("front", "back"),
    ("awake", "asleep"),
    ("wide", "narrow"),
    ("safe", "dangerous"),
    ("smooth", "rough"),
    ("begin", "end"),
    ("give", "take"),
    ("come", "go"),
    ("push", "pull"),
    ("laugh", "cry"),
    ("win", "lose"),
    ("buy", "sell"),
    ("love", "hate"),
    ("always", "never"),
    ("above", "below"),
    ("heavy", "weightless"),
    ("brave", "afraid"),
    ("friend", "enemy"),
    ("question", "answer"),
    ("same", "different"),
    ("easy", "difficult"),
];

pub const PLURALS: &[(&str, &str)] = &[
    ("cat", "cats"),
    ("dog", "dogs"),
    ("tree", "trees"),
    ("house", "houses"),
    ("book", "books"),
    ("ball", "balls"),
    ("hat", "hats"),
    ("bird", "birds"),
    ("star", "stars"),
    ("car", "cars"),
    ("apple", "apples"),
    ("flower", "flowers"),
    ("cow", "cows"),
    ("pig", "pigs"),
    ("duck", "ducks"),
    ("frog", "frogs"),
    ("bear", "bears"),
    ("lion", "lions"),
    ("king", "kings"),
    ("queen", "queens"),
    ("boat", "boats"),
    ("ship", "ships"),
    ("door", "doors"),
    ("chair", "chairs"),
    ("table", "tables"),
    ("spoon", "spoons"),
    ("cup", "cups"),
    ("river", "rivers"),
    ("lake", "lakes"),
    ("hill", "hills"),
    ("box", "boxes"),
    ("fox", "foxes"),
    ("bus", "buses"),
    ("dress", "dresses"),
    ("glass", "glasses"),
    ("dish", "dishes"),
    ("brush", "brushes"),
    ("bench", "benches"),
    ("peach", "peaches"),
    ("watch", "watches"),
    ("bush", "bushes"),
    ("baby", "babies"),
    ("city", "cities"),
    ("story", "stories"),
    ("berry", "berries"),
    ("cherry", "cherries"),
    ("lady", "ladies"),
    ("pony", "ponies"),
    ("puppy", "puppies"),
    ("party", "parties"),
    ("leaf", "leaves"),
    ("wolf", "wolves"),
    ("knife", "knives"),
    ("loaf", "loaves"),
    ("shelf", "shelves"),
    ("wife", "wives"),
    ("child", "children"),
    ("man", "men"),
    ("woman", "women"),
    ("foot", "feet"),
    ("tooth", "teeth"),
    ("goose", "geese"),
    ("mouse", "mice"),
    ("sheep", "sheep"),
    ("fish", "fish"),
    ("deer", "deer"),
    ("boy", "boys"),
    ("girl", "girls"),
    ("key", "keys"),
    ("monkey", "monkeys"),
    ("potato", "potatoes"),
    ("tomato", "tomatoes"),
    ("hero", "heroes"),
];

/// What has which colour.
pub const COLOURED: &[(&str, &str)] = &[
    ("the sky", "blue"),
    ("grass", "green"),
    ("snow", "white"),
    ("the sun", "yellow"),
    ("a banana", "yellow"),
    ("a lemon", "yellow"),
    ("blood", "red"),
    ("a strawberry", "red"),
    ("a cherry", "red"),
    ("a tomato", "red"),
    ("a carrot", "orange"),
    ("a pumpkin", "orange"),
    ("a frog", "green"),
    ("a leaf", "green"),
    ("a cucumber", "green"),
    ("coal", "black"),
    ("the night", "black"),
    ("a crow", "black"),
    ("milk", "white"),
    ("a swan", "white"),
    ("chocolate", "brown"),
    ("a bear", "brown"),
    ("wood", "brown"),
    ("an elephant", "grey"),
    ("a mouse", "grey"),
    ("a pig", "pink"),
    ("a flamingo", "pink"),
    ("the sea", "blue"),
    ("a plum", "purple"),
    ("a crown", "golden"),
    ("honey", "golden"),
    ("salt", "white"),
    ("a fox", "red"),
    ("a polar bear", "white"),
    ("a blueberry", "blue"),
];

/// Small facts: ways to ask, and the answer. Each has one answer, word for word.
pub const FACTS: &[(&[&str], &str)] = &[
    (
        &[
            "What does a cow say?",
            "What sound does a cow make?",
            "Which sound does a cow make?",
        ],
        "A cow says moo.",
    ),
    (
        &[
            "What does a dog say?",
            "What sound does a dog make?",
            "Which sound does a dog make?",
        ],
        "A dog says woof.",
    ),
    (
        &[
            "What does a cat say?",
            "What sound does a cat make?",
            "Which sound does a cat make?",
        ],
        "A cat says meow.",
    ),
    (
        &[
            "What does a duck say?",
            "What sound does a duck make?",
            "Which sound does a duck make?",
        ],
        "A duck says quack.",
    ),
    (
        &[
            "What does a sheep say?",
            "What sound does a sheep make?",
            "Which sound does a sheep make?",
        ],
        "A sheep says baa.",
    ),
    (
        &[
            "What does a pig say?",
            "What sound does a pig make?",
            "Which sound does a pig make?",
        ],
        "A pig says oink.",
    ),
    (
        &[
            "What does a lion do?",
            "What sound does a lion make?",
            "Which sound does a lion make?",
        ],
        "A lion can roar.",
    ),
    (
        &[
            "What does an owl say?",
            "What sound does an owl make?",
            "Which sound does an owl make?",
        ],
        "An owl says hoo.",
    ),
    (
        &[
            "What does a frog say?",
            "What sound does a frog make?",
            "Which sound does a frog make?",
        ],
        "A frog says ribbit.",
    ),
    (
        &[
            "What does a mouse say?",
            "What sound does a mouse make?",
            "Which sound does a mouse make?",
        ],
        "A mouse says squeak.",
    ),
    (
        &[
            "Where does a fish live?",
            "Where do fish live?",
            "Where is the home of a fish?",
        ],
        "A fish lives in the water.",
    ),
    (
        &[
            "Where does a bear live?",
            "Where do bears live?",
            "Where is the home of a bear?",
        ],
        "A bear lives in the forest.",
    ),
    (
        &[
            "Where does a bird live?",
            "Where do birds live?",
            "Where is the home of a bird?",
        ],
        "A bird lives in a nest.",
    ),
    (
        &[
            "Where does a bee live?",
            "Where do bees live?",
            "Where is the home of a bee?",
        ],
        "A bee lives in a hive.",
    ),
    (
        &[
            "Where does a camel live?",
            "Where do camels live?",
            "Where is the home of a camel?",
        ],
        "A camel lives in the desert.",
    ),
    (
        &[
            "Where does a penguin live?",
            "Where do penguins live?",
            "Where is the home of a penguin?",
        ],
        "A penguin lives in the snow.",
    ),
    (
        &[
            "Where does a cow live?",
            "Where do cows live?",
            "Where is the home of a cow?",
        ],
        "A cow lives on a farm.",
    ),
    (
        &[
            "Where does a king live?",
            "Where do kings live?",
            "Where is the home of a king?",
        ],
        "A king lives in a castle.",
    ),
    (
        &[
            "Where does a spider live?",
            "Where do spiders live?",
            "Where is the home of a spider?",
        ],
        "A spider lives in a web.",
    ),
    (
        &[
            "Where does a monkey live?",
            "Where do monkeys live?",
            "Where is the home of a monkey?",
        ],
        "A monkey lives in the jungle.",
    ),
    (
        &[
            "What do bees make?",
            "What does a bee make?",
            "Which sweet thing do bees make?",
        ],
        "Bees make honey.",
    ),
    (
        &[
            "What does a cow give us?",
            "What do we get from a cow?",
            "What do cows give?",
        ],
        "A cow gives us milk.",
    ),
    (
        &[
            "What does a hen lay?",
            "What do hens lay?",
            "What do we get from a hen?",
        ],
        "A hen lays an egg.",
    ),
    (
        &[
            "What does a sheep give us?",
            "What do we get from a sheep?",
            "What do sheep give?",
        ],
        "A sheep gives us wool.",
    ),
    (
        &[
            "What does a rabbit eat?",
            "What do rabbits eat?",
            "What is the food of a rabbit?",
        ],
        "A rabbit eats carrots.",
    ),
    (
        &[
            "What does a cow eat?",
            "What do cows eat?",
            "What is the food of a cow?",
        ],
        "A cow eats grass.",
    ),
    (
        &[
            "What does a monkey eat?",
            "What do monkeys eat?",
            "What is the food of a monkey?",
        ],
        "A monkey eats bananas.",
    ),
    (
        &[
            "What does a mouse eat?",
            "What do mice eat?",
            "What is the food of a mouse?",
        ],
        "A mouse eats cheese.",
    ),
    (
        &[
            "What does a squirrel eat?",
            "What do squirrels eat?",
            "What is the food of a squirrel?",
        ],
        "A squirrel eats nuts.",
    ),
    (
        &[
            "What does a bear eat?",
            "What do bears eat?",
            "What is the food of a bear?",
        ],
        "A bear eats honey.",
    ),
    (
        &[
            "What is a baby cat called?",
            "What do you call a baby cat?",
            "What is the name for a young cat?",
        ],
        "A baby cat is a kitten.",
    ),
    (
        &[
            "What is a baby dog called?",
            "What do you call a baby dog?",
            "What is the name for a young dog?",
        ],
        "A baby dog is a puppy.",
    ),
    (
        &[
            "What is a baby cow called?",
            "What do you call a baby cow?",
            "What is the name for a young cow?",
        ],
        "A baby cow is a calf.",
    ),
    (
        &[
            "What is a baby sheep called?",
            "What do you call a baby sheep?",
            "What is the name for a young sheep?",
        ],
        "A baby sheep is a lamb.",
    ),
    (
        &[
            "What is a baby horse called?",
            "What do you call a baby horse?",
            "What is the name for a young horse?",
        ],
        "A baby horse is a foal.",
    ),
    (
        &[
            "What is a baby hen called?",
            "What do you call a baby hen?",
            "What is the name for a young hen?",
        ],
        "A baby hen is a chick.",
    ),
    (
        &[
            "What is a baby frog called?",
            "What do you call a baby frog?",
            "What is the name for a young frog?",
        ],
        "A baby frog is a tadpole.",
    ),
    (
        &[
            "What is a baby bear called?",
            "What do you call a baby bear?",
            "What is the name for a young bear?",
        ],
        "A baby bear is a cub.",
    ),
    (
        &[
            "How many legs does a dog have?",
            "How many legs has a dog?",
            "Count the legs of a dog.",
        ],
        "A dog has 4 legs.",
    ),
    (
        &[
            "How many legs does a bird have?",
            "How many legs has a bird?",
            "Count the legs of a bird.",
        ],
        "A bird has 2 legs.",
    ),
    (
        &[
            "How many legs does a spider have?",
            "How many legs has a spider?",
            "Count the legs of a spider.",
        ],
        "A spider has 8 legs.",
    ),
    (
        &[
            "How many legs does an ant have?",
            "How many legs has an ant?",
            "Count the legs of an ant.",
        ],
        "An ant has 6 legs.",
    ),
    (
        &[
            "How many legs does a fish have?",
            "How many legs has a fish?",
            "Count the legs of a fish.",
        ],
        "A fish has no legs.",
    ),
    (
        &[
            "How many days are in a week?",
            "How many days does a week have?",
            "How long is a week in days?",
        ],
        "A week has 7 days.",
    ),
    (
        &[
            "How many months are in a year?",
            "How many months does a year have?",
            "How long is a year in months?",
        ],
        "A year has 12 months.",
    ),
    (
        &[
            "How many fingers are on a hand?",
            "How many fingers does a hand have?",
            "Count the fingers of a hand.",
        ],
        "A hand has 5 fingers.",
    ),
    (
        &[
            "When does the sun shine?",
            "When is the sun in the sky?",
            "When can we see the sun?",
        ],
        "The sun shines during the day.",
    ),
    (
        &[
            "When does the moon shine?",
            "When is the moon in the sky?",
            "When can we see the moon?",
        ],
        "The moon shines at night.",
    ),
    (
        &[
            "When does snow fall?",
            "When do we see snow?",
            "In which season does snow fall?",
        ],
        "Snow falls in winter.",
    ),
    (
        &[
            "When do flowers bloom?",
            "When do we see new flowers?",
            "In which season do flowers bloom?",
        ],
        "Flowers bloom in spring.",
    ),
    (
        &[
            "When do leaves fall?",
            "When do trees lose their leaves?",
            "In which season do leaves fall?",
        ],
        "Leaves fall in autumn.",
    ),
    (
        &[
            "When is it hot outside?",
            "When can we swim in the sea?",
            "In which season is it hot?",
        ],
        "It is hot in summer.",
    ),
    (
        &[
            "What do we use to cut bread?",
            "What cuts bread?",
            "Which thing cuts bread?",
        ],
        "We cut bread with a knife.",
    ),
    (
        &[
            "What do we use to eat soup?",
            "How do we eat soup?",
            "Which thing do we eat soup with?",
        ],
        "We eat soup with a spoon.",
    ),
    (
        &[
            "What do we use to open a door?",
            "How do we open a locked door?",
            "Which thing opens a door?",
        ],
        "We open a door with a key.",
    ),
    (
        &[
            "What do we use to stay dry in the rain?",
            "How do we stay dry in the rain?",
            "What keeps us dry in the rain?",
        ],
        "In the rain we use an umbrella.",
    ),
    (
        &[
            "What do we use to see?",
            "How do we see?",
            "Which part of the body sees?",
        ],
        "We see with our eyes.",
    ),
    (
        &[
            "What do we use to hear?",
            "How do we hear?",
            "Which part of the body hears?",
        ],
        "We hear with our ears.",
    ),
    (
        &[
            "What do we use to smell?",
            "How do we smell?",
            "Which part of the body smells?",
        ],
        "We smell with our nose.",
    ),
    (
        &[
            "What do we use to walk?",
            "How do we walk?",
            "Which part of the body walks?",
        ],
        "We walk on our feet.",
    ),
    (
        &["Where do we sleep?", "Where do children sleep?", "What do we sleep in?"],
        "We sleep in a bed.",
    ),
    (
        &[
            "Where do we learn to read?",
            "Where do children learn?",
            "Where does a teacher work?",
        ],
        "Children learn at school.",
    ),
    (
        &[
            "Who grows our food?",
            "Who works on a farm?",
            "Who looks after the cows?",
        ],
        "That is the farmer.",
    ),
    (
        &["Who bakes bread?", "Who makes bread?", "Who works in a bakery?"],
        "That is the baker.",
    ),
    (
        &[
            "Who helps sick people?",
            "Who makes us well?",
            "Who works in a hospital?",
        ],
        "That is the doctor.",
    ),
    (
        &[
            "Who puts out fires?",
            "Who comes when a house burns?",
            "Who drives a fire engine?",
        ],
        "That is the firefighter.",
    ),
    (
        &[
            "What is ice made of?",
            "What does ice turn into?",
            "What is rain made of?",
        ],
        "That is water.",
    ),
    (
        &[
            "What comes after Monday?",
            "Which day comes after Monday?",
            "Which day is before Wednesday?",
        ],
        "That is Tuesday.",
    ),
    (
        &[
            "What comes after Friday?",
            "Which day comes after Friday?",
            "Which day is before Sunday?",
        ],
        "That is Saturday.",
    ),
    (
        &[
            "What comes after Sunday?",
            "Which day comes after Sunday?",
            "Which day is before Tuesday?",
        ],
        "That is Monday.",
    ),
];

/// What lies outside the little world.
pub const UNKNOWN_TOPICS: &[&str] = &[
    "France",
    "Brazil",
    "China",
    "the government",
    "the stock market",
    "the internet",
    "quantum physics",
    "chemistry",
    "the Roman Empire",
    "the Second World War",
    "football results",
    "the latest news",
    "the news today",
    "electric cars",
    "computers",
    "programming",
    "Python",
    "JavaScript",
    "taxes",
    "the law",
    "the economy",
    "elections",
    "democracy",
    "black holes",
    "the speed of light",
    "atoms",
    "electricity",
    "medicine",
    "vaccines",
    "cancer",
    "insurance",
    "banks",
    "bitcoin",
    "mortgages",
    "Shakespeare",
    "Mozart",
    "philosophy",
    "Germany",
    "Japan",
    "Canada",
    "India",
    "Mexico",
    "Africa",
    "New York",
    "London",
    "Paris",
    "Berlin",
    "the Moon landing",
    "rockets",
    "satellites",
    "nuclear power",
    "climate change",
    "volcanoes",
    "dinosaurs",
    "algebra",
    "geometry",
    "calculus",
    "statistics",
    "grammar rules",
    "the French Revolution",
    "Napoleon",
    "the president",
    "the prime minister",
    "movies",
    "television",
    "video games",
    "telephones",
    "airplanes",
    "engines",
    "the brain",
    "genes",
    "evolution",
];

pub const UNKNOWN_QUESTIONS: &[&str] = &[
    "What is the capital of {}?",
    "Who is the leader of {}?",
    "Explain {} to me.",
    "What do you know about {}?",
    "Tell me about {}.",
    "How does {} work?",
    "When was {} invented?",
    "Who invented {}?",
    "Can you explain {}?",
    "What is the history of {}?",
    "Write an essay about {}.",
    "Why is {} important?",
    "How much does {} cost?",
    "What is the future of {}?",
    "Who is the most famous person in {}?",
    "What is your opinion on {}?",
    "Give me a list of facts about {}.",
    "How can I learn more about {}?",
];
