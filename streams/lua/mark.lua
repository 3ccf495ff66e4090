-- The mark of a timeline that was put away (before each script that needs it): a member of the set f{hP} + 2 bytes of the
-- digest that its key ends with, 6 more as a number (Redis keeps small sets of numbers in 8 bytes each). The key f{hP} alone
-- is there as soon as partition P has any.
local function marks_of(key)
  return 'f' .. string.sub(key, 2, -13)
end
local function mark_of(key)
  local number = 0
  for place = -10, -5 do
    number = number * 256 + string.byte(key, place)
  end
  return marks_of(key) .. string.sub(key, -12, -11), string.format('%.0f', number)
end
